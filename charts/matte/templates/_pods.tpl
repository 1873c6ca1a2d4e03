{{/* Common parts of pods. */}}

{{/* Security context of a pod, for Pod Security level "restricted": (dict "user" 10001) */}}
{{- define "matte.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ .user }}
runAsGroup: {{ .user }}
fsGroup: {{ .user }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "matte.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "matte.pullSecrets" -}}
{{- with .Values.images.pullSecrets -}}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Scheduling fields of a pod, from a section of the values. */}}
{{- define "matte.scheduling" -}}
{{- with .nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{/* Environment variables of the frontends and the Ray pods, as a YAML mapping */}}
{{- define "matte.env" -}}
MATTE_DURABILITY: {{ .Values.redis.durability }}
MATTE_MAX_BYTES: {{ .Values.limits.maxBytes | int64 | quote }}
MATTE_MAX_PIXELS: {{ .Values.limits.maxPixels | int64 | quote }}
{{- with include "matte.traces" . }}
{{ . }}
{{- end }}
{{- with .Values.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Environment variables of the Ray pods, as a YAML mapping */}}
{{- define "matte.inferenceEnv" -}}
{{- with .Values.registry.npm }}
MATTE_NPM_REGISTRY: {{ . | quote }}
{{- end }}
{{ include "matte.env" . }}
{{- end }}

{{/* Standard environment variables of OpenTelemetry, as a YAML mapping */}}
{{- define "matte.traces" -}}
{{- with .Values.traces }}
{{- if .endpoint }}
OTEL_EXPORTER_OTLP_ENDPOINT: {{ .endpoint | quote }}
OTEL_TRACES_SAMPLER: parentbased_traceidratio
OTEL_TRACES_SAMPLER_ARG: {{ .ratio | quote }}
{{- end }}
{{- end }}
{{- end }}

{{/* Converts a YAML mapping to a container's env */}}
{{- define "matte.asEnv" -}}
{{- $env := list -}}
{{- range $name, $value := fromYaml . }}
{{- $env = append $env (dict "name" $name "value" (toString $value)) }}
{{- end }}
{{- toYaml $env }}
{{- end }}
