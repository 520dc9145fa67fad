{{/* Labels of everything in this release. */}}
{{- define "goosefs.labels" -}}
app.kubernetes.io/name: goosefs
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "goosefs.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* Whether an object exists that this release did not make: "true" or nothing. Arguments: root, apiVersion, kind, name. */}}
{{- define "goosefs.foreign" -}}
{{- $found := lookup .apiVersion .kind "" .name -}}
{{- if $found -}}
{{- $notes := $found.metadata.annotations | default dict -}}
{{- $release := printf "%s/%s" (index $notes "meta.helm.sh/release-namespace" | default "") (index $notes "meta.helm.sh/release-name" | default "") -}}
{{- if ne $release (printf "%s/%s" .root.Release.Namespace .root.Release.Name) -}}true{{- end -}}
{{- end -}}
{{- end }}

{{/* Whether another release owns Datasets. */}}
{{- define "goosefs.guest" -}}
{{- include "goosefs.foreign" (dict "root" . "apiVersion" "apiextensions.k8s.io/v1" "kind" "CustomResourceDefinition" "name" "datasets.data.fluid.io") -}}
{{- end }}

{{/* Name of the CSI driver. */}}
{{- define "goosefs.driver" -}}
{{- if .Values.csi.driver -}}
{{- .Values.csi.driver -}}
{{- else if include "goosefs.foreign" (dict "root" . "apiVersion" "storage.k8s.io/v1" "kind" "CSIDriver" "name" "fuse.csi.fluid.io") -}}
fuse.csi.goosefs.io
{{- else -}}
fuse.csi.fluid.io
{{- end -}}
{{- end }}

{{/* Name of the webhook's configuration, its Service and its Secret. */}}
{{- define "goosefs.webhook" -}}
{{- if include "goosefs.foreign" (dict "root" . "apiVersion" "admissionregistration.k8s.io/v1" "kind" "MutatingWebhookConfiguration" "name" "fluid-pod-admission-webhook") -}}
goosefs-pod-admission-webhook
{{- else -}}
fluid-pod-admission-webhook
{{- end -}}
{{- end }}

{{/* The controller that admits pods: that of Datasets, or that of runtimes where another release owns Datasets. */}}
{{- define "goosefs.admits" -}}
{{- if not (include "goosefs.guest" .) -}}
dataset-controller
{{- else if .Values.runtime.goosefs.enabled -}}
goosefsruntime-controller
{{- end -}}
{{- end }}

{{/* What controllers of both kinds have in common. Arguments: root, name, only, values. */}}
{{- define "goosefs.controller" -}}
{{- $admits := and .root.Values.webhook.enabled (eq .name (include "goosefs.admits" .root)) -}}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "goosefs.labels" .root | nindent 4 }}
    control-plane: {{ .name }}
spec:
  replicas: {{ .values.replicas }}
  selector:
    matchLabels:
      app.kubernetes.io/instance: {{ .root.Release.Name }}
      control-plane: {{ .name }}
  template:
    metadata:
      labels:
        {{- include "goosefs.labels" .root | nindent 8 }}
        control-plane: {{ .name }}
    spec:
      serviceAccountName: {{ .name }}
      enableServiceLinks: false
      terminationGracePeriodSeconds: 15
      priorityClassName: system-cluster-critical
      securityContext:
        runAsNonRoot: true
        runAsUser: 65534
        runAsGroup: 65534
        seccompProfile: {type: RuntimeDefault}
      {{- with .root.Values.image.pullSecrets }}
      imagePullSecrets: {{ toJson . }}
      {{- end }}
      {{- with .values.nodeSelector }}
      nodeSelector: {{ toJson . }}
      {{- end }}
      {{- with .values.affinity }}
      affinity: {{ toJson . }}
      {{- end }}
      {{- if gt (int .values.replicas) 1 }}
      topologySpreadConstraints:
        - maxSkew: 1
          topologyKey: kubernetes.io/hostname
          whenUnsatisfiable: ScheduleAnyway
          labelSelector: {matchLabels: {app.kubernetes.io/instance: {{ .root.Release.Name }}, control-plane: {{ .name }}}}
      {{- end }}
      {{- with .values.tolerations }}
      tolerations: {{ toJson . }}
      {{- end }}
      containers:
        - name: manager
          image: {{ include "goosefs.image" .root | quote }}
          imagePullPolicy: {{ .root.Values.image.pullPolicy }}
          args: [controller, --only, {{ .only }}, --metrics-addr, "0.0.0.0:8080"]
          env:
            - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
            - {name: GOOSEFS_RUNTIME_IMAGE_ENV, value: {{ include "goosefs.image" .root | quote }}}
            - {name: GOOSEFS_CSI_DRIVER, value: {{ include "goosefs.driver" .root | quote }}}
            - {name: GOOSEFS_LOGS_LEVEL, value: {{ .root.Values.logLevel | quote }}}
            {{- if $admits }}
            - {name: GOOSEFS_WEBHOOK, value: {{ include "goosefs.webhook" .root | quote }}}
            - {name: GOOSEFS_WEBHOOK_ADDR, value: "0.0.0.0:9443"}
            {{- end }}
          ports:
            - {name: metrics, containerPort: 8080, protocol: TCP}
            {{- if $admits }}
            - {name: webhook, containerPort: 9443, protocol: TCP}
          lifecycle:
            # It answers until the apiserver has heard that it goes.
            preStop: {exec: {command: [sleep, "3"]}}
            {{- end }}
          livenessProbe:
            httpGet: {path: /healthz, port: metrics}
            periodSeconds: 10
            failureThreshold: 6
          readinessProbe:
            httpGet: {path: /readyz, port: metrics}
            periodSeconds: 2
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities: {drop: [ALL]}
          {{- with .values.resources }}
          resources: {{ toJson . }}
          {{- end }}
{{- if gt (int .values.replicas) 1 }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "goosefs.labels" .root | nindent 4 }}
spec:
  maxUnavailable: 1
  selector:
    matchLabels:
      app.kubernetes.io/instance: {{ .root.Release.Name }}
      control-plane: {{ .name }}
{{- end }}
{{- end }}
