{{/* Peers and rules of NetworkPolicies. */}}

{{/* Pods of these components: (list $ "frontend" "inference") */}}
{{- define "matte.peers" -}}
{{- $ := first . -}}
{{- $peers := list -}}
{{- range rest . }}
{{- $labels := include "matte.selector" (list $ .) | fromYaml }}
{{- $peers = append $peers (dict "podSelector" (dict "matchLabels" $labels)) }}
{{- end }}
{{- toYaml $peers }}
{{- end }}

{{/* TCP ports: (list 443 6443) */}}
{{- define "matte.ports" -}}
{{- $ports := list -}}
{{- range . }}
{{- $ports = append $ports (dict "protocol" "TCP" "port" .) }}
{{- end }}
{{- toYaml $ports }}
{{- end }}

{{- define "matte.dns" -}}
- ports:
    - protocol: UDP
      port: 53
    - protocol: TCP
      port: 53
{{- end }}

{{/* Egress rule for a section of the values with cidr and ports */}}
{{- define "matte.egress" -}}
- to:
    - ipBlock:
        cidr: {{ .cidr }}
  ports:
    {{- include "matte.ports" .ports | nindent 4 }}
{{- end }}

{{/* Port of the npm registry, where it is none that model sources have anyway */}}
{{- define "matte.npmPort" -}}
{{- with .Values.registry.npm -}}
{{- $url := urlParse . -}}
{{- $port := regexFind "[0-9]+$" (regexFind ":[0-9]+$" $url.host) | default (ternary "80" "443" (eq $url.scheme "http")) -}}
{{- $ports := list -}}
{{- range $.Values.networkPolicy.sources.ports }}{{ $ports = append $ports (int .) }}{{ end -}}
{{- if not (has (int $port) $ports) }}{{ $port }}{{ end -}}
{{- end }}
{{- end }}

{{- define "matte.toTelemetry" -}}
{{- if .Values.traces.endpoint -}}
- ports:
    {{- include "matte.ports" .Values.networkPolicy.telemetryPorts | nindent 4 }}
{{- end }}
{{- end }}

{{- define "matte.toRedis" -}}
{{- if include "matte.externalRedis" . }}
{{- include "matte.egress" .Values.networkPolicy.externalRedis }}
{{- else -}}
- to:
    {{- include "matte.peers" (list . "redis") | nindent 4 }}
  ports:
    {{- include "matte.ports" (list 6379) | nindent 4 }}
{{- end }}
{{- end }}

{{/* Ingress rule for scrapers: (list $ port) */}}
{{- define "matte.fromMetrics" -}}
{{- $ := first . -}}
{{- $clients := $.Values.networkPolicy.metricsClients -}}
{{- if or $clients $.Values.monitoring.podMonitor.enabled -}}
- ports:
    {{- include "matte.ports" (rest .) | nindent 4 }}
  {{- with $clients }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}
{{- end }}
