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

{{/* The prefix of annotations as the agent completes it: a slash, or a dash after what follows the slash. */}}
{{- define "tweed.annotationPrefix" -}}
{{- $prefix := .Values.annotationPrefix -}}
{{- if not (contains "/" $prefix) }}{{ $prefix = printf "%s/" $prefix }}{{ end -}}
{{- if not (or (hasSuffix "/" $prefix) (hasSuffix "-" $prefix)) }}{{ $prefix = printf "%s-" $prefix }}{{ end -}}
{{- $prefix -}}
{{- end }}
