{{/* Environment variables of the operator. */}}
{{- define "matte.operatorEnv" -}}
- name: MATTE_NAMESPACE
  value: {{ .Release.Namespace }}
- name: MATTE_RELEASE
  value: {{ .Release.Name }}
- name: MATTE_INFERENCE_IMAGE
  value: {{ include "matte.image" (list . "inference") }}
- name: MATTE_INFERENCE_PULL_POLICY
  value: {{ .Values.images.pullPolicy }}
- name: MATTE_IMAGE_PULL_SECRETS
  value: {{ join "," .Values.images.pullSecrets | quote }}
- name: MATTE_REDIS_SECRET
  value: {{ include "matte.redisSecret" . }}
- name: MATTE_INFERENCE_ENV
  value: {{ include "matte.inferenceEnv" . | fromYaml | toJson | quote }}
- name: MATTE_CACHE_SIZE
  value: {{ .Values.registry.cache.size | quote }}
{{- with .Values.registry.cache.claim }}
- name: MATTE_CACHE_CLAIM
  value: {{ . }}
{{- end }}
{{- with .Values.registry.cache.hostPath }}
- name: MATTE_CACHE_HOST_PATH
  value: {{ . }}
{{- end }}
{{- with .Values.registry.secret }}
- name: MATTE_MODELS_SECRET
  value: {{ . }}
{{- end }}
{{- with .Values.serviceAccounts.inference }}
- name: MATTE_SERVICE_ACCOUNT
  value: {{ . }}
{{- end }}
- name: MATTE_HEALTH_PORT
  value: "8080"
- name: MATTE_METRICS_PORT
  value: "9090"
{{- with include "matte.traces" . }}
{{ include "matte.asEnv" . }}
{{- end }}
{{- end }}

{{/* Permissions in the namespace of the release, explained in operators/matte/README.md. */}}
{{- define "matte.operatorRules" -}}
- apiGroups: [matte.dev]
  resources: [pools, models]
  verbs: [list, watch]
- apiGroups: [matte.dev]
  resources: [modelversions]
  verbs: [list, watch, create, patch, delete]
- apiGroups: [matte.dev]
  resources: [pools/status, models/status, modelversions/status]
  verbs: [patch]
- apiGroups: [matte.dev]
  resources: [pools/finalizers, models/finalizers]
  verbs: [update]
- apiGroups: [ray.io]
  resources: [rayservices]
  verbs: [list, watch, create, patch]
- apiGroups: [ray.io]
  resources: [rayclusters]
  verbs: [list, watch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [list, create, patch]
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
- apiGroups: [""]
  resources: [events]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  verbs: [create]
- apiGroups: [coordination.k8s.io]
  resources: [leases]
  resourceNames: [{{ .Release.Name }}-matte-operator]
  verbs: [get, update]
{{- end }}
