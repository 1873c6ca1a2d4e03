{{/* Names, labels and images. */}}

{{- define "matte.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- default $full .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Selector labels of a component: (list $ "frontend") */}}
{{- define "matte.selector" -}}
app.kubernetes.io/name: matte
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* Labels of pods. No version among them: a pod restarts only for a change of its own. */}}
{{- define "matte.podLabels" -}}
{{ include "matte.selector" . }}
{{- with (index . 0).Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Metadata of an object: (list $ "component" "name-suffix") */}}
{{- define "matte.metadata" -}}
{{- $ := index . 0 -}}
name: {{ include "matte.fullname" $ }}{{ with index . 2 }}-{{ . }}{{ end }}
namespace: {{ $.Release.Namespace }}
labels:
  {{- include "matte.labels" (list $ (index . 1)) | nindent 2 }}
{{- with $.Values.commonAnnotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "matte.labels" -}}
{{- $ := index . 0 -}}
{{ include "matte.podLabels" . }}
app.kubernetes.io/version: {{ $.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $.Chart.Name $.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* Image of a component: (list $ "frontend") */}}
{{- define "matte.image" -}}
{{- $ := index . 0 -}}
{{- $images := $.Values.images -}}
{{- default (printf "%s/%s:%s" $images.registry (index . 1) (default $.Chart.AppVersion $images.tag)) (get $images (index . 1)) -}}
{{- end }}

{{- define "matte.externalRedis" -}}
{{- with .Values.redis.external }}{{ if or .url .existingSecret }}true{{ end }}{{ end -}}
{{- end }}

{{- define "matte.redisSecret" -}}
{{- $redis := .Values.redis -}}
{{- default (printf "%s-redis" (include "matte.fullname" .)) (coalesce $redis.external.existingSecret $redis.existingSecret) -}}
{{- end }}

{{/* Host names that the frontend accepts. A route without a host accepts any name, so the frontend must, too. */}}
{{- define "matte.allowedHosts" -}}
{{- $service := printf "%s-frontend" (include "matte.fullname" .) -}}
{{- $inside := printf "%s.%s" $service .Release.Namespace -}}
{{- $outside := ternary .Values.expose.host "*" (or (not (empty .Values.expose.host)) (eq .Values.expose.type "none")) -}}
{{- $all := list $service $inside (printf "%s.svc" $inside) (printf "%s.svc.cluster.local" $inside) $outside -}}
{{- concat $all .Values.expose.allowedHosts | compact | uniq | join "," -}}
{{- end }}

{{- define "matte.url" -}}
{{- $tls := and (eq .Values.expose.type "ingress") .Values.expose.ingress.tlsSecret -}}
{{ ternary "https" "http" (not (empty $tls)) }}://{{ default "ADDRESS" .Values.expose.host }}
{{- end }}
