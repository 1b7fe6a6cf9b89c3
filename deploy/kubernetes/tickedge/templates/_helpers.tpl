{{- define "tickedge.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "tickedge.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}{{ default (include "tickedge.fullname" .) .Values.serviceAccount.name }}
{{- else -}}{{ default "default" .Values.serviceAccount.name }}{{- end -}}
{{- end -}}

{{/* What finds the pods of a component; it must not change in the life of a release. Takes a list: the root, the component. */}}
{{- define "tickedge.selector" -}}
app.kubernetes.io/name: {{ default (index . 0).Chart.Name (index . 0).Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "tickedge.labels" -}}
{{- $root := index . 0 -}}
{{ include "tickedge.selector" . }}
app.kubernetes.io/part-of: tickedge
app.kubernetes.io/version: {{ default $root.Chart.AppVersion $root.Values.image.tag | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* An image by its name without the registry. */}}
{{- define "tickedge.image" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.image.registry -}}{{ trimSuffix "/" . }}/{{- end -}}
{{ index . 1 }}:{{ default $root.Chart.AppVersion $root.Values.image.tag }}
{{- end -}}

{{/* The brokers, a URL each as JSON. */}}
{{- define "tickedge.brokers" -}}
{{- if .Values.broker.urls -}}{{ toJson .Values.broker.urls }}
{{- else if .Values.redis.enabled -}}{{ list (printf "redis://%s-redis:6379" (include "tickedge.fullname" .)) | toJson }}
{{- else -}}{{ fail "there is no broker: set broker.urls, or for a trial redis.enabled=true, or give each program a secret of its own (edge.secret.name)" }}
{{- end -}}
{{- end -}}

{{/* The database, for a program that has no Secret of its own. */}}
{{- define "tickedge.database" -}}
{{- required "a store is postgres: set postgres.url, or give the program a secret of its own (marketdata.secret.name, alerts.secret.name)" .Values.postgres.url -}}
{{- end -}}

{{/* A value of a flag. Helm has whole numbers as floats, which would be 1e+06. */}}
{{- define "tickedge.value" -}}
{{- if kindIs "slice" . -}}{{ join "," . }}
{{- else if kindIs "float64" . -}}{{- if eq (floor .) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else -}}{{ . }}{{- end -}}
{{- end -}}

{{/* Flags as variables. Takes a list: the prefix, the flags. */}}
{{- define "tickedge.flags" -}}
{{- $prefix := index . 0 -}}
{{- range $name, $value := index . 1 }}
- name: {{ $prefix }}_{{ $name | upper | replace "-" "_" }}
  value: {{ include "tickedge.value" $value | quote }}
{{- end -}}
{{- end -}}

{{/* The variables of tokens. Takes a list: the root, the prefix. */}}
{{- define "tickedge.tokenEnv" -}}
{{- $prefix := index . 1 -}}
{{- with (index . 0).Values.tokens }}
{{- if .jwksURL }}
- name: {{ $prefix }}_JWT_JWKS_URL
  value: {{ .jwksURL | quote }}
{{- end }}
{{- if .issuer }}
- name: {{ $prefix }}_JWT_ISSUER
  value: {{ .issuer | quote }}
{{- end }}
{{- if .audience }}
- name: {{ $prefix }}_JWT_AUDIENCE
  value: {{ .audience | quote }}
{{- end }}
{{- if .publicKeys.secret }}
- name: {{ $prefix }}_JWT_KEY_FILE
  value: /etc/tickedge/token-keys/{{ .publicKeys.key }}
{{- end }}
{{- if .sharedSecret.secret }}
- name: {{ $prefix }}_JWT_SECRET_FILE
  value: /etc/tickedge/token-secret/{{ .sharedSecret.key }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What is mounted of Secrets, as a map from the name of a folder below /etc/tickedge to the Secret. Takes a list: the root, the
     name of the program, its values. */}}
{{- define "tickedge.secrets" -}}
{{- $root := index . 0 -}}{{- $program := index . 1 -}}{{- $values := index . 2 -}}
config: {{ default (printf "%s-%s" (include "tickedge.fullname" $root) $program) $values.secret.name }}
{{- with $root.Values.tokens.publicKeys.secret }}
token-keys: {{ . }}
{{- end }}
{{- with $root.Values.tokens.sharedSecret.secret }}
token-secret: {{ . }}
{{- end }}
{{- with $values.backOffice }}
{{- if .enabled }}
{{- with .keys.secret }}
back-office-keys: {{ . }}
{{- end }}
back-office-tls: {{ required "edge.backOffice.tlsSecret is missing: the back office speaks TLS" .tlsSecret }}
{{- with .clientCA.secret }}
back-office-ca: {{ . }}
{{- end }}
{{- end }}
{{- end }}
{{- if and (dig "grpc" "enabled" false $values) (dig "grpc" "tlsSecret" "" $values) }}
grpc-tls: {{ $values.grpc.tlsSecret }}
{{- end }}
{{- with dig "keys" "secret" "" $values }}
keys: {{ . }}
{{- end }}
{{- with dig "historyToken" "secret" "" $values }}
history-token: {{ . }}
{{- end }}
{{- end -}}

{{- define "tickedge.mounts" -}}
{{- range $folder, $secret := include "tickedge.secrets" . | fromYaml }}
- {name: {{ $folder }}, mountPath: /etc/tickedge/{{ $folder }}, readOnly: true}
{{- end }}
{{- range (index . 2).files }}
- {name: {{ .name }}, mountPath: {{ .mountPath }}, readOnly: true}
{{- end }}
{{- end -}}

{{/* Files of Secrets are for the group of the program, and for nobody else. */}}
{{- define "tickedge.volumes" -}}
{{- range $folder, $secret := include "tickedge.secrets" . | fromYaml }}
- name: {{ $folder }}
  secret: {secretName: {{ $secret }}, defaultMode: 288}
{{- end }}
{{- range (index . 2).files }}
- name: {{ .name }}
  {{- if .secret }}
  secret: {secretName: {{ .secret }}, defaultMode: 288}
  {{- else }}
  configMap: {name: {{ .configMap }}}
  {{- end }}
{{- end }}
{{- end -}}

{{/* What every pod has. Takes a list: the root, the values of the program. */}}
{{- define "tickedge.pod" -}}
{{- $root := index . 0 -}}{{- $values := index . 1 -}}
serviceAccountName: {{ include "tickedge.serviceAccount" $root }}
automountServiceAccountToken: false
# The variables that Kubernetes makes of services look like flags of a program that is called like one.
enableServiceLinks: false
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Of a pod: the user of the images, to whom volumes belong too. */}}
{{- define "tickedge.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "tickedge.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* The program itself says when it is ready: not while it drains. It is ended for what a new process mends, and not for a broker
     that is away. */}}
{{- define "tickedge.probes" -}}
startupProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet: {path: /readyz, port: admin}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: admin}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end -}}

{{/* A change of what the chart puts into Secrets and ConfigMaps starts the pods anew. */}}
{{- define "tickedge.checksum" -}}
{{- include "tickedge.config" . | sha256sum | trunc 16 -}}
{{- end -}}

{{/* The file of a program that has no Secret of its own. Takes a list: the root, the name of the program, its values. */}}
{{- define "tickedge.config" -}}
{{- $root := index . 0 -}}{{- $program := index . 1 -}}{{- $values := index . 2 -}}
{{- if not $values.secret.name -}}
{{ eq $program "marketdata" | ternary "broker" "source" }}: {{ include "tickedge.brokers" $root }}
{{- if eq (dig "store" "" $values) "postgres" }}
{{ eq $program "marketdata" | ternary "history" "store" }}: {{ include "tickedge.database" $root | quote }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The volume of a folder. It stays when the release goes. */}}
{{- define "tickedge.claim" -}}
- metadata: {name: data}
  spec:
    accessModes: [ReadWriteOnce]
    {{- with .storageClass }}
    storageClassName: {{ . }}
    {{- end }}
    resources: {requests: {storage: {{ .size }}}}
{{- end -}}
