{{- define "mooring.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What tells the pods of one part: (dict "root" $ "part" "controller"). */}}
{{- define "mooring.selector" -}}
app.kubernetes.io/name: {{ include "mooring.fullname" .root }}-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end -}}

{{- define "mooring.labels" -}}
{{ include "mooring.selector" . }}
app.kubernetes.io/part-of: mooring
{{- end -}}

{{/* Labels of an object. */}}
{{- define "mooring.objectLabels" -}}
{{ include "mooring.labels" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{/* The account of one part. */}}
{{- define "mooring.account" -}}
{{- $of := get .root.Values .part -}}
{{- if $of.serviceAccount.name -}}
{{- $of.serviceAccount.name -}}
{{- else if $of.serviceAccount.create -}}
{{- include "mooring.fullname" .root }}-{{ .part -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{/* The controllers that run, by the names of --controllers. */}}
{{- define "mooring.controllers" -}}
{{- $names := list -}}
{{- range list "provisioner" "attacher" "resizer" -}}
{{- if and (get $.Values.sidecars .).enabled (or (ne . "attacher") $.Values.driver.features.attach) -}}
{{- $names = append $names . -}}
{{- end -}}
{{- end -}}
{{- if and $.Values.controller.enabled (not $names) -}}
{{- fail "sidecars.provisioner, sidecars.attacher and sidecars.resizer are all off: set controller.enabled to false" -}}
{{- end -}}
{{- join "," $names -}}
{{- end -}}

{{/* Which of the conditions in files/rights hold. */}}
{{- define "mooring.conditions" -}}
{{- $can := .Values.driver.features -}}
{{- $level := int .Values.sidecars.provisioner.capacityOwnerrefLevel -}}
always: true
attach: {{ $can.attach }}
claims: {{ or $can.topology $can.clones }}
nodes: {{ or $can.topology $can.capacity }}
nodeDeployment: false
snapshots: {{ $can.snapshots }}
grants: {{ $can.crossNamespaceSources }}
modify: {{ $can.modify }}
inUse: {{ $can.inUse }}
secrets: {{ $can.secrets }}
capacity: {{ $can.capacity }}
capacityOwner: {{ and $can.capacity (ge $level 0) }}
capacityOwnerOfOwner: {{ and $can.capacity (ge $level 2) }}
{{- end -}}

{{/* The rules of a table whose conditions hold: (dict "root" $ "rights" LIST). */}}
{{- define "mooring.rules" -}}
{{- $conditions := include "mooring.conditions" .root | fromYaml -}}
{{- range .rights }}
{{- if not (hasKey $conditions .when) }}{{ fail (printf "the chart knows no condition %q" .when) }}{{ end }}
{{- if get $conditions .when }}
- {{ toJson .rule }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Flags of leader election: (dict "root" $ "key" "attacher"). Two that both work would call the driver twice. */}}
{{- define "mooring.election" -}}
{{- $of := .root.Values.controller -}}
{{- $election := (get .root.Values.sidecars .key).leaderElection -}}
{{- $several := or (gt (int $of.replicaCount) 1) (ne ($of.updateStrategy.type | default "RollingUpdate") "Recreate") -}}
{{- if and $several (not $election.enabled) -}}
{{- fail (printf "sidecars.%s.leaderElection.enabled: without it, two could work at once; set controller.replicaCount to 1 and controller.updateStrategy.type to Recreate" .key) -}}
{{- end -}}
{{- with $election }}{{ if .enabled }}
- --leader-election
{{- with .leaseDuration }}
- --leader-election-lease-duration={{ . }}
{{- end }}
{{- with .renewDeadline }}
- --leader-election-renew-deadline={{ . }}
{{- end }}
{{- with .retryPeriod }}
- --leader-election-retry-period={{ . }}
{{- end }}
{{- end }}{{ end }}
{{- end -}}

{{/* Flags of csi-provisioner; `prefix` is `provisioner-` in the combined process. */}}
{{- define "mooring.provisionerFlags" -}}
{{- if .root.Values.driver.features.capacity }}
- --{{ .prefix }}enable-capacity
- --{{ .prefix }}capacity-ownerref-level={{ int .root.Values.sidecars.provisioner.capacityOwnerrefLevel }}
{{- end }}
{{- end -}}

{{- define "mooring.resizerFlags" -}}
{{- if not .root.Values.driver.features.inUse }}
- --{{ .prefix }}handle-volume-inuse-error=false
{{- end }}
{{- end -}}

{{- define "mooring.provisionerGates" -}}
{{- if .Values.driver.features.crossNamespaceSources }}
- --feature-gates=CrossNamespaceVolumeDataSource=true
{{- end }}
{{- end -}}

{{/* What csi-provisioner must know of its pod. */}}
{{- define "mooring.podEnv" -}}
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
{{- if and .capacity .root.Values.driver.features.capacity }}
- name: NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- end }}
{{- end -}}

{{/*
One container: (dict "root" $ "of" PART "name" NAME "image" IMAGE-NAME "section" SECTION "args" YAML "env" YAML "port" PORT-NAME
"httpPort" NUMBER, if not the section's, "probes" YAML "mounts" YAML).
*/}}
{{- define "mooring.container" -}}
{{- $port := int (.httpPort | default .section.httpPort) -}}
{{- $host := .of.httpHost | default "" -}}
{{- $own := .section.image | default dict -}}
{{- $global := .root.Values.image -}}
- name: {{ .name }}
  {{- $repository := $own.repository | default (printf "%s/%s" $global.registry .image) }}
  {{- if regexMatch "^(registry[.]k8s[.]io/sig-storage|k8s[.]gcr[.]io/sig-storage|quay[.]io/k8scsi|public[.]ecr[.]aws/(csi-components|eks-distro)|mcr[.]microsoft[.]com/oss|longhornio)/" $repository }}
  {{- fail (printf "the image of %s: %s is the Go sidecar: leave image out, or name the place of ours" .name $repository) }}
  {{- end }}
  {{- if $own.digest }}
  image: {{ printf "%s@%s" $repository $own.digest | quote }}
  {{- else }}
  image: {{ printf "%s:%s" $repository ($own.tag | default $global.tag | default .root.Chart.AppVersion) | quote }}
  {{- end }}
  imagePullPolicy: {{ $own.pullPolicy | default $global.pullPolicy }}
  args:
    {{- .args | nindent 4 }}
    - --http-endpoint={{ ternary (printf "[%s]" $host) $host (contains ":" $host) }}:{{ $port }}
    {{- with include "mooring.tlsFlags" .root }}
    {{- . | nindent 4 }}
    {{- end }}
    - --v={{ int .section.logLevel }}
    {{- $name := .name }}
    {{- range .section.additionalArgs }}
    {{- $flag := splitList "=" . | first }}
    {{- if regexMatch "^--?([a-z]+-)?(tls-cert-file|tls-private-key-file)$" $flag }}
    {{- fail (printf "additionalArgs of %s: %s: tls.secretName says it, so that probes and the PodMonitor follow" $name $flag) }}
    {{- else if regexMatch "^--?([a-z]+-)?http-require-token$" $flag }}
    {{- fail (printf "additionalArgs of %s: %s: the chart's PodMonitor has no token; leave it out" $name $flag) }}
    {{- else if regexMatch "^--?([a-z]+-)?(http-endpoint|health-port|metrics-address)$" $flag }}
    {{- fail (printf "additionalArgs of %s: %s: the section's httpPort and httpHost say it, so that probes follow" $name $flag) }}
    {{- end }}
    - {{ . | quote }}
    {{- end }}
  {{- $env := concat (fromYamlArray .env | default list) (.section.env | default list) }}
  {{- with $env }}
  env:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with include "mooring.portsEntry" (dict "root" .root "of" .of "name" .port "port" $port) }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .probes }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- with .section.resources }}
  resources:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .section.securityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumeMounts:
    - name: socket-dir
      mountPath: /csi
    {{- with include "mooring.tlsMount" .root }}
    {{- . | nindent 4 }}
    {{- end }}
    {{- with .mounts }}
    {{- . | nindent 4 }}
    {{- end }}
  terminationMessagePolicy: FallbackToLogsOnError
{{- end -}}

{{/* Liveness of a controller: its leader election; nothing where it elects nobody: (dict "root" $ "of" PART "section" SECTION). */}}
{{- define "mooring.leaderProbe" -}}
{{- if .section.leaderElection.enabled -}}
livenessProbe:
  {{- include "mooring.httpGet" (dict "root" .root "of" .of "path" "/healthz/leader-election" "port" .section.httpPort) | nindent 2 }}
  initialDelaySeconds: 10
  timeoutSeconds: 10
  periodSeconds: 20
  failureThreshold: 3
{{- end -}}
{{- end -}}

{{/* How pods are replaced. Values are merged into the defaults, whose rollingUpdate the API server refuses beside another type. */}}
{{- define "mooring.strategy" -}}
{{- toYaml (ternary . (omit . "rollingUpdate") (eq (.type | default "RollingUpdate") "RollingUpdate")) -}}
{{- end -}}

{{/* Keys of a pod's spec that are values as they are: (dict "root" $ "of" .Values.controller). */}}
{{- define "mooring.podKeys" -}}
terminationGracePeriodSeconds: {{ int .of.terminationGracePeriodSeconds }}
{{- if .of.hostNetwork }}
hostNetwork: true
dnsPolicy: ClusterFirstWithHostNet
{{- end }}
{{- with .of.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .of.podSecurityContext }}
{{- /* Values are merged into the defaults: whoever asks for root does not mean runAsNonRoot, with which the kubelet starts nothing. */}}
{{- $context := . }}
{{- if eq (toString .runAsUser) "0" }}{{ $context = omit . "runAsNonRoot" }}{{ end }}
securityContext:
  {{- toYaml $context | nindent 2 }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- range $key := list "nodeSelector" "affinity" "tolerations" "topologySpreadConstraints" "initContainers" }}
{{- with get $.of $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Labels and annotations of a pod: (dict "root" $ "part" "controller"). */}}
{{- define "mooring.podMetadata" -}}
{{- $of := get .root.Values .part -}}
labels:
  {{- include "mooring.labels" . | nindent 2 }}
  {{- with $of.podLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $of.podAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Pieces of YAML below one another; empty ones are left out. */}}
{{- define "mooring.lines" -}}
{{- $lines := list -}}
{{- range . -}}{{- with trim . -}}{{- $lines = append $lines . -}}{{- end -}}{{- end -}}
{{- join "\n" $lines -}}
{{- end -}}

{{/* Whether the kubelet has registered the driver: (dict "root" $ "of" PART "path" PATH "port" NUMBER). */}}
{{- define "mooring.registrationProbe" -}}
readinessProbe:
  {{- include "mooring.httpGet" . | nindent 2 }}
  timeoutSeconds: 15
  periodSeconds: 10
  failureThreshold: 3
{{- end -}}
