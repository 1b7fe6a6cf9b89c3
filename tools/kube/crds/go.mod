// Whose files of custom resources scripts/kube validates with. There is no code here, so go mod tidy would leave nothing of it.
module tickedge/tools/kube/crds

go 1.26.0

require (
	github.com/argoproj/argo-rollouts v1.8.3
	github.com/prometheus-operator/prometheus-operator v0.85.0
	sigs.k8s.io/gateway-api v1.4.0
)
