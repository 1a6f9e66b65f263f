{{/* Labels of every object. */}}
{{- define "tweed.labels" -}}
app.kubernetes.io/name: tweed
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{/* net-conf.json: a family without network is switched off, not left to flannel's defaults. */}}
{{- define "tweed.netConf" -}}
{{- $conf := dict "Backend" .Values.backend -}}
{{- if .Values.podCidr }}{{ $_ := set $conf "Network" .Values.podCidr }}{{ else }}{{ $_ := set $conf "EnableIPv4" false }}{{ end -}}
{{- if .Values.podCidrv6 }}{{ $_ := set $conf "IPv6Network" .Values.podCidrv6 }}{{ $_ := set $conf "EnableIPv6" true }}{{ end -}}
{{- mergeOverwrite $conf .Values.netConf | toPrettyJson -}}
{{- end }}

{{/* Whether the agent carries packets itself, by the backend's type or one that it accepts besides. */}}
{{- define "tweed.tun" -}}
{{- $backend := (include "tweed.netConf" . | fromJson).Backend -}}
{{- $types := list (lower $backend.Type) -}}
{{- range $backend.Accept }}{{ $types = append $types (lower .Type) }}{{ end -}}
{{- has "udp" $types -}}
{{- end }}

{{/* Processor time that others can't take: of those who carry packets themselves, more. */}}
{{- define "tweed.resources" -}}
{{- $resources := deepCopy (.Values.resources | default dict) -}}
{{- if and $resources.requests (eq (toString $resources.requests.cpu) "") -}}
{{- $_ := set $resources.requests "cpu" (ternary "500m" "20m" (eq (include "tweed.tun" .) "true")) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end }}

{{/* The prefix of annotations as the agent completes it: a slash, or a dash after what follows the slash. */}}
{{- define "tweed.annotationPrefix" -}}
{{- $prefix := .Values.annotationPrefix -}}
{{- if not (contains "/" $prefix) }}{{ $prefix = printf "%s/" $prefix }}{{ end -}}
{{- if not (or (hasSuffix "/" $prefix) (hasSuffix "-" $prefix)) }}{{ $prefix = printf "%s-" $prefix }}{{ end -}}
{{- $prefix -}}
{{- end }}
