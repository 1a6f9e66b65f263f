//! The cluster's DNS: CoreDNS as a Deployment, found at the usual service.

/// The service's address.
pub const ADDR: &str = "10.96.0.10";
/// The domain of services.
pub const DOMAIN: &str = "cluster.local";

use crate::kube::image::COREDNS;

/// Objects to apply.
pub fn objects() -> String {
    format!(
        r#"
apiVersion: v1
kind: ServiceAccount
metadata: {{ name: coredns, namespace: kube-system }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {{ name: coredns }}
rules:
- {{ apiGroups: [""], resources: [endpoints, services, pods, namespaces], verbs: [list, watch] }}
- {{ apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch] }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {{ name: coredns }}
roleRef: {{ apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coredns }}
subjects: [{{ kind: ServiceAccount, name: coredns, namespace: kube-system }}]
---
apiVersion: v1
kind: ConfigMap
metadata: {{ name: coredns, namespace: kube-system }}
data:
  Corefile: |
    .:53 {{
        errors
        health :8080
        ready :8181
        kubernetes {DOMAIN} in-addr.arpa ip6.arpa
        cache 5
    }}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{ name: coredns, namespace: kube-system }}
spec:
  selector: {{ matchLabels: {{ k8s-app: kube-dns }} }}
  template:
    metadata: {{ labels: {{ k8s-app: kube-dns }} }}
    spec:
      serviceAccountName: coredns
      terminationGracePeriodSeconds: 1
      dnsPolicy: Default
      containers:
      - name: coredns
        image: {COREDNS}
        imagePullPolicy: Never
        args: [-conf, /etc/coredns/Corefile]
        volumeMounts: [{{ name: config, mountPath: /etc/coredns }}]
        readinessProbe: {{ httpGet: {{ path: /ready, port: 8181 }}, periodSeconds: 1 }}
      volumes: [{{ name: config, configMap: {{ name: coredns }} }}]
---
apiVersion: v1
kind: Service
metadata: {{ name: kube-dns, namespace: kube-system }}
spec:
  clusterIP: {ADDR}
  selector: {{ k8s-app: kube-dns }}
  ports:
  - {{ name: dns, port: 53, protocol: UDP }}
  - {{ name: dns-tcp, port: 53, protocol: TCP }}
"#
    )
}
