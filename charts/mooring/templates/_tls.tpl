{{/* Flags of a container that serves HTTPS. */}}
{{- define "mooring.tlsFlags" -}}
{{- if .Values.tls.secretName -}}
- --tls-cert-file=/tls/tls.crt
- --tls-private-key-file=/tls/tls.key
{{- end -}}
{{- end -}}

{{- define "mooring.tlsMount" -}}
{{- if .Values.tls.secretName -}}
- name: mooring-tls
  mountPath: /tls
  readOnly: true
{{- end -}}
{{- end -}}

{{- define "mooring.tlsVolume" -}}
{{- with .Values.tls.secretName -}}
- name: mooring-tls
  secret:
    secretName: {{ . }}
{{- end -}}
{{- end -}}

{{/* How Prometheus reaches a port. It asks pods by their addresses, so it must be told which name it is to find in the certificate. */}}
{{- define "mooring.tlsEndpoint" -}}
{{- $of := .Values.metrics.podMonitor -}}
{{- if and .Values.tls.secretName (not $of.tlsConfig) (not .Values.tls.serverName) -}}
{{- fail "tls.serverName: Prometheus asks pods by address, so say a name that the certificate is for, or set metrics.podMonitor.tlsConfig" -}}
{{- end -}}
{{- if .Values.tls.secretName -}}
scheme: https
tlsConfig:
  {{- with $of.tlsConfig }}
  {{- toYaml . | nindent 2 }}
  {{- else }}
  serverName: {{ .Values.tls.serverName }}
  ca:
    secret:
      name: {{ .Values.tls.secretName }}
      key: ca.crt
  {{- end }}
{{- else if $of.tlsConfig -}}
{{- fail "metrics.podMonitor.tlsConfig does nothing without tls.secretName" -}}
{{- end -}}
{{- end -}}

{{/* Fails where a vendor's container asks our /healthz in the clear, which speaks HTTPS: the kubelet would restart the driver for ever. */}}
{{- define "mooring.checkSchemes" -}}
{{- $ports := include "mooring.ports" (dict "root" .root "part" .part) | fromJson | values -}}
{{- $containers := (get .root.Values .part).containers | default list -}}
{{- if eq .part "node" -}}
{{- $registrar := .root.Values.sidecars.nodeDriverRegistrar -}}
{{- $own := list (dict "name" "registrar" "containerPort" $registrar.httpPort) -}}
{{- $containers = append $containers (dict "name" "node-driver-registrar" "livenessProbe" $registrar.livenessProbe "ports" $own) -}}
{{- end -}}
{{- range $container := $containers -}}
{{- range $probe := list "livenessProbe" "readinessProbe" "startupProbe" -}}
{{- $get := get (get $container $probe | default dict) "httpGet" | default dict -}}
{{- $number := get $get "port" | default 0 -}}
{{- range $port := $container.ports -}}
{{- if eq (toString $number) (toString $port.name) -}}{{- $number = $port.containerPort -}}{{- end -}}
{{- end -}}
{{- range $port := $ports -}}
{{- $wanted := ternary "HTTPS" "HTTP" (ne $.root.Values.tls.secretName "") -}}
{{- if and (eq (int $port) (int $number)) (ne $wanted (get $get "scheme" | default "HTTP")) -}}
{{- fail (printf "%s.containers: %s of %s asks port %d, where our container speaks %s: set scheme: %s" $.part $probe $container.name (int $port) $wanted $wanted) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
