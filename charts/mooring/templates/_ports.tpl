{{/*
The ports that our containers of one part listen at, as JSON from the value's key to the number: (dict "root" $ "part" "node").
Nothing where the part is off.
*/}}
{{- define "mooring.ports" -}}
{{- $of := get .root.Values .part -}}
{{- $sidecars := .root.Values.sidecars -}}
{{- $sections := list -}}
{{- $ports := dict -}}
{{- if and $of.enabled (eq .part "controller") -}}
{{- $names := splitList "," (include "mooring.controllers" .root) -}}
{{- $sections = ternary (list "controller") $names (eq $of.mode "combined") -}}
{{- if $of.livenessProbe.enabled -}}
{{- $_ := set $ports "controller.livenessProbe.httpPort" (int $of.livenessProbe.httpPort) -}}
{{- end -}}
{{- else if $of.enabled -}}
{{- $sections = ternary (list "node") (list "nodeDriverRegistrar" "livenessProbe") (eq $of.mode "combined") -}}
{{- end -}}
{{- range $sections -}}
{{- $_ := set $ports (printf "sidecars.%s.httpPort" .) (int (get $sidecars .).httpPort) -}}
{{- end -}}
{{- toJson $ports -}}
{{- end -}}

{{/* Fails where two containers want one port. The containers of a pod share its ports, and on the host's network all pods do. */}}
{{- define "mooring.checkPorts" -}}
{{- $shared := dict -}}
{{- range $part := list "controller" "node" -}}
{{- $of := get $.Values $part -}}
{{- $ports := include "mooring.ports" (dict "root" $ "part" $part) | fromJson -}}
{{- $taken := ternary $shared (dict) $of.hostNetwork -}}
{{- range $key, $port := $ports -}}
{{- $number := toString $port -}}
{{- if hasKey $taken $number -}}
{{- fail (printf "%s and %s are both %s: set one of them to a free port" (get $taken $number) $key $number) -}}
{{- end -}}
{{- $_ := set $taken $number $key -}}
{{- end -}}
{{- if and $of.httpHost (not $of.hostNetwork) -}}
{{- fail (printf "%s.httpHost: only with %s.hostNetwork=true; elsewhere the kubelet asks the pod's own address" $part $part) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Fails where a probe of a vendor's container names a port that only another container has: the kubelet would not find it. */}}
{{- define "mooring.checkProbes" -}}
{{- range $container := .of.containers -}}
{{- $names := list -}}
{{- range $container.ports -}}{{- $names = append $names .name -}}{{- end -}}
{{- range $probe := list "livenessProbe" "readinessProbe" "startupProbe" -}}
{{- range $how := list "httpGet" "tcpSocket" -}}
{{- $asks := get (get $container $probe | default dict) $how | default dict -}}
{{- $port := get $asks "port" | default "0" | toString -}}
{{- if not (or (regexMatch "^[0-9.e+]+$" $port) (has $port $names)) -}}
{{- fail (printf "%s.containers: %s of %s names port %q, which that container does not declare: say the number" $.part $probe $container.name $port) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
The `ports` of a container of ours: (dict "root" $ "of" PART "name" NAME "port" NUMBER). They only inform, so there are none where the vendor's
container declares the number, as for its own probe. On the host's network each is a port of the node, which the scheduler keeps from
other pods: there they are for the Prometheus operator only, which looks for the name.
*/}}
{{- define "mooring.portsEntry" -}}
{{- $declared := list -}}
{{- range concat (.of.containers | default list) (.of.initContainers | default list) -}}
{{- range .ports -}}{{- $declared = append $declared (int .containerPort) -}}{{- end -}}
{{- end -}}
{{- $wanted := or (not .of.hostNetwork) .root.Values.metrics.podMonitor.enabled -}}
{{- if and $wanted (not (has (int .port) $declared)) -}}
ports:
  - name: {{ .name }}
    containerPort: {{ int .port }}
{{- end -}}
{{- end -}}

{{/* Whom a probe asks: (dict "root" $ "of" PART "path" PATH "port" NUMBER). A number, because the container may declare no port. */}}
{{- define "mooring.httpGet" -}}
httpGet:
  {{- if .root.Values.tls.secretName }}
  scheme: HTTPS
  {{- end }}
  {{- with .of.httpHost }}
  host: {{ . | quote }}
  {{- end }}
  path: {{ .path }}
  port: {{ int .port }}
{{- end -}}
