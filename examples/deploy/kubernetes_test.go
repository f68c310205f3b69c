// SPDX-License-Identifier: MIT

package deploy

import (
	"bufio"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// decode reads the objects of a manifest as the API server does with
// fieldValidation Strict: an unknown or repeated field is an error.
func decode(manifest string) ([]runtime.Object, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{appsv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme, policyv1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, err
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifest)))
	var objects []runtime.Object
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object)
	}
}

func TestKubernetesHTTP(t *testing.T) {
	objects, err := decode(readFile(t, "kubernetes/http.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 3 {
		t.Fatalf("got %d objects, want 3", len(objects))
	}
	deployment, service, budget := objects[0].(*appsv1.Deployment), objects[1].(*corev1.Service), objects[2].(*policyv1.PodDisruptionBudget)
	pod := deployment.Spec.Template
	checkPod(t, pod.Spec)

	// All three select the pods of the Deployment.
	for name, selector := range map[string]labels.Selector{
		"Deployment":          asSelector(t, deployment.Spec.Selector),
		"Service":             labels.SelectorFromSet(service.Spec.Selector),
		"PodDisruptionBudget": asSelector(t, budget.Spec.Selector),
		"spread":              asSelector(t, pod.Spec.TopologySpreadConstraints[0].LabelSelector),
	} {
		if selector.Empty() || !selector.Matches(labels.Set(pod.Labels)) {
			t.Errorf("%s selects %q, which %v does not match", name, selector, pod.Labels)
		}
	}

	// Ports are by name, and there is one of each.
	container := pod.Spec.Containers[0]
	for name, port := range map[string]intstr.IntOrString{
		"readiness": container.ReadinessProbe.HTTPGet.Port,
		"liveness":  container.LivenessProbe.HTTPGet.Port,
		"Service":   service.Spec.Ports[0].TargetPort,
	} {
		if !slices.ContainsFunc(container.Ports, func(p corev1.ContainerPort) bool { return p.Name == port.String() }) {
			t.Errorf("%s: the container has no port %s", name, port.String())
		}
	}
	if container.LivenessProbe.HTTPGet.Path == container.ReadinessProbe.HTTPGet.Path {
		t.Error("liveness asks for readiness: it would end a server that stops")
	}
	if container.Lifecycle != nil {
		t.Error("there is a preStop hook: its time is lost to the stop, which has a delay of its own")
	}
	if got := deployment.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue(); got != 0 {
		t.Errorf("maxUnavailable is %d: an update would lower the capacity", got)
	}
	if unavailable := budget.Spec.MaxUnavailable.IntValue(); unavailable < 1 || unavailable >= int(*deployment.Spec.Replicas) {
		t.Errorf("the budget lets %d of %d pods go: want at least one and not all", unavailable, *deployment.Spec.Replicas)
	}
}

func TestKubernetesJob(t *testing.T) {
	objects, err := decode(readFile(t, "kubernetes/job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if len(objects) != 2 {
		t.Fatalf("got %d objects, want 2", len(objects))
	}
	job, claim := objects[0].(*batchv1.Job).Spec, objects[1].(*corev1.PersistentVolumeClaim)
	checkPod(t, job.Template.Spec)
	if got := job.Template.Spec.RestartPolicy; got != corev1.RestartPolicyNever {
		t.Errorf("restartPolicy is %s: podFailurePolicy needs Never", got)
	}
	if *job.PodReplacementPolicy != batchv1.Failed || job.PodFailurePolicy.Rules[0].Action != batchv1.PodFailurePolicyActionIgnore {
		t.Error("a pod that is disrupted must be replaced, after it has ended, and not count")
	}
	volume, mount := job.Template.Spec.Volumes[0], job.Template.Spec.Containers[0].VolumeMounts[0]
	if volume.Name != mount.Name || volume.PersistentVolumeClaim.ClaimName != claim.Name {
		t.Errorf("mount %s, volume %s of claim %s, claim %s: want them to be of one volume",
			mount.Name, volume.Name, volume.PersistentVolumeClaim.ClaimName, claim.Name)
	}
}

// checkPod checks what every pod has: grace, and the "restricted" pod security
// standard with a read-only root besides.
func checkPod(t *testing.T, pod corev1.PodSpec) {
	t.Helper()
	context := pod.SecurityContext
	if !*context.RunAsNonRoot || *context.RunAsUser == 0 || context.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("the pod may run as root, or without seccomp: %v", context)
	}
	if *pod.AutomountServiceAccountToken {
		t.Error("the pod gets a token of the API, which it does not use")
	}
	for _, c := range pod.Containers {
		s := c.SecurityContext
		if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
			t.Errorf("%s has more rights than it needs: %v", c.Name, s)
		}
		var grace string
		for _, variable := range c.Env {
			if variable.Name == "SHUTDOWN_GRACE" {
				grace = variable.Value
			}
		}
		checkGrace(t, grace, time.Duration(*pod.TerminationGracePeriodSeconds)*time.Second)
	}
}

// What decode is for: a slip that kubectl apply of an old release drops silently.
func TestKubernetesStrict(t *testing.T) {
	manifest := readFile(t, "kubernetes/http.yaml")
	for name, slip := range map[string][2]string{
		"misspelt":     {"terminationGracePeriodSeconds", "terminationGracePeriodSecond"},
		"moved":        {"readOnlyRootFilesystem: true", "runAsNonRoot: true, runAsGroups: 5"},
		"other type":   {"replicas: 3", "replicas: three"},
		"twice":        {"replicas: 3", "replicas: 3\n  replicas: 4"},
		"unknown kind": {"kind: Service", "kind: Servise"},
	} {
		broken := strings.Replace(manifest, slip[0], slip[1], 1)
		if broken == manifest {
			t.Fatalf("%s: %q is not there", name, slip[0])
		}
		if _, err := decode(broken); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}

func asSelector(t *testing.T, s *metav1.LabelSelector) labels.Selector {
	t.Helper()
	selector, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		t.Fatal(err)
	}
	return selector
}
