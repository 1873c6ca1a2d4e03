{{/* Checks beyond the schema. Missing APIs are detected only with a cluster: the list of APIs that `helm template`
     uses has no apiregistration.k8s.io. */}}
{{- define "matte.checks" -}}
{{- with .Values }}
{{- if gt (int .limits.maxWaitSeconds) (int .streamTimeout) }}
{{- fail (printf "limits.maxWaitSeconds (%d) must not exceed streamTimeout (%d)" (int .limits.maxWaitSeconds) (int .streamTimeout)) }}
{{- end }}
{{- if gt (int .frontend.autoscaling.minReplicas) (int .frontend.autoscaling.maxReplicas) }}
{{- fail "frontend.autoscaling.minReplicas must not exceed frontend.autoscaling.maxReplicas" }}
{{- end }}
{{- if and .redis.external.url .redis.external.existingSecret }}
{{- fail "set redis.external.url or redis.external.existingSecret, not both" }}
{{- end }}
{{- if and .isnet.enabled (hasKey .models "isnet") }}
{{- fail "isnet.enabled creates the Model isnet: change it with isnet.spec instead of models.isnet" }}
{{- end }}
{{- if and .isnet.enabled (hasPrefix "catalog://" .isnet.spec.source) (not (or .registry.npm .registry.secret .env.MATTE_NPM_REGISTRY)) }}
{{- fail "isnet.enabled needs an npm registry to download from: add --set registry.npm=$(npm config get registry), or set isnet.spec.source to where `matte models push isnet` put the weights (s3://…, oci://…, pvc://…)" }}
{{- end }}
{{- if and .registry.cache.claim .registry.cache.hostPath }}
{{- fail "set registry.cache.claim or registry.cache.hostPath, not both" }}
{{- end }}
{{- end }}
{{- if .Capabilities.APIVersions.Has "apiregistration.k8s.io/v1" }}
{{- template "matte.needs" (list . true "matte.dev/v1alpha1/Pool" "Matte's own resources are not installed: helm install matte-crds charts/matte-crds") }}
{{- template "matte.needs" (list . true "ray.io/v1/RayService" "KubeRay is not installed: helm install kuberay-operator kuberay-operator --repo https://ray-project.github.io/kuberay-helm --version 1.5.1 --namespace kuberay --create-namespace") }}
{{- $values := .Values }}
{{- template "matte.needs" (list . (eq $values.expose.type "gateway") "gateway.networking.k8s.io/v1/HTTPRoute" "expose.type is gateway, but the Gateway API is not installed: https://gateway-api.sigs.k8s.io") }}
{{- template "matte.needs" (list . (eq $values.frontend.autoscaling.type "keda") "keda.sh/v1alpha1/ScaledObject" "frontend.autoscaling.type is keda, but KEDA is not installed: https://keda.sh") }}
{{- template "matte.needs" (list . $values.monitoring.podMonitor.enabled "monitoring.coreos.com/v1/PodMonitor" "monitoring.podMonitor.enabled is true, but the Prometheus operator is not installed") }}
{{- template "matte.needs" (list . $values.monitoring.rules.enabled "monitoring.coreos.com/v1/PrometheusRule" "monitoring.rules.enabled is true, but the Prometheus operator is not installed") }}
{{- end }}
{{- end }}

{{/* Fails if an API is required but missing: (list $ required "group/version/Kind" "error message") */}}
{{- define "matte.needs" -}}
{{- if and (index . 1) (not ((index . 0).Capabilities.APIVersions.Has (index . 2))) }}
{{- fail (index . 3) }}
{{- end }}
{{- end }}
