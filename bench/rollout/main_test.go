// SPDX-License-Identifier: MIT

package main

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// decode reads manifests as the API server does with fieldValidation Strict.
func decode(t *testing.T, manifest string) (objects []runtime.Object) {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(appsv1.AddToScheme(scheme), batchv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(manifest)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(document), "kind:") {
			continue // the comment at the head
		}
		object, _, err := decoder.Decode(document, nil, nil)
		if err != nil {
			t.Fatalf("%v in:\n%s", err, document)
		}
		objects = append(objects, object)
	}
}

// checkManifest checks that each subject has its servers, its Service and its load.
func checkManifest(t *testing.T, manifest, image string, replicas int32) {
	t.Helper()
	objects := decode(t, manifest)
	if got, want := len(objects), 3*len(clusterSubjects); got != want {
		t.Fatalf("got %d objects, want %d", got, want)
	}
	for i, subject := range clusterSubjects {
		deployment, service, job := objects[3*i].(*appsv1.Deployment), objects[3*i+1].(*corev1.Service), objects[3*i+2].(*batchv1.Job)
		server, load := deployment.Spec.Template.Spec.Containers[0], job.Spec.Template.Spec.Containers[0]
		if !labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(deployment.Spec.Template.Labels)) {
			t.Errorf("%s: the Service selects %v, the pods have %v", subject, service.Spec.Selector, deployment.Spec.Template.Labels)
		}
		if !slices.Equal(server.Args, []string{"serve", subject}) || !slices.Equal(load.Args, []string{"load", "http://" + service.Name}) {
			t.Errorf("%s: the servers run %q, the load %q", subject, server.Args, load.Args)
		}
		if server.Image != image || load.Image != image || *deployment.Spec.Replicas != replicas {
			t.Errorf("%s: images %s and %s, %d replicas, want %s and %d", subject, server.Image, load.Image, *deployment.Spec.Replicas, image, replicas)
		}
	}
}

// A kubectl that answers what the run asks, new pods each time.
const fakeKubectl = `#!/bin/sh
echo "$*" >>"$KUBECTL_CALLS"
case "$*" in
*apply*) cat >"$KUBECTL_CALLS.manifest" ;;
*"get pods"*) n=$(wc -l <"$KUBECTL_CALLS"); echo "pod/a-$n"; echo "pod/b-$n" ;;
*logs*ours) echo '{"Sent":7}' ;;
*logs*) echo '{"Sent":9,"Failed":{"reset":2,"EOF":1}}' ;;
esac
`

func TestKubernetes(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(fakeKubectl), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	calls := filepath.Join(dir, "calls")
	t.Setenv("KUBECTL_CALLS", calls)

	// The second run adds to the first.
	var out strings.Builder
	for range 2 {
		out.Reset()
		o := options{engine: "kubernetes", image: "registry.test/rollout:1", updates: 1, replicas: 2, raw: filepath.Join(dir, "raw")}
		if err := run(t.Context(), &out, o); err != nil {
			t.Fatal(err)
		}
	}
	for _, row := range []string{"| this library | 14 | 0 | ", "| net/http, NotifyContext and Shutdown | 18 | 6 (EOF 2, reset 4) | ", "2 updates of 2 replicas"} {
		if !strings.Contains(out.String(), row) {
			t.Errorf("no %q in:\n%s", row, out.String())
		}
	}
	manifest, err := os.ReadFile(calls + ".manifest")
	if err != nil {
		t.Fatal(err)
	}
	checkManifest(t, string(manifest), "registry.test/rollout:1", 2)

	text, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if first, last := lines[0], lines[len(lines)-1]; !strings.HasPrefix(first, "create namespace rollout-") || !strings.HasPrefix(last, "delete namespace rollout-") {
		t.Errorf("got %q first and %q last, want a namespace that is made and deleted", first, last)
	}
	if got, want := strings.Count(string(text), "rollout restart deployment/"), 2*len(clusterSubjects); got != want {
		t.Errorf("got %d updates, want %d", got, want)
	}
}

// Every way to fail is counted, and by its name.
func TestLoad(t *testing.T) {
	var n atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch n.Add(1) % 4 {
		case 0:
			w.WriteHeader(http.StatusServiceUnavailable)
		case 1:
			io.WriteString(w, "do")
		case 2:
			panic(http.ErrAbortHandler)
		default:
			io.WriteString(w, body)
		}
	}))
	srv.Config.ErrorLog = nil
	defer srv.Close()
	c := client{target{url: srv.URL}, &http.Transport{DisableKeepAlives: true}}
	var own tally
	for range 4 {
		own.add(c.request(0))
	}
	if got, want := own.String(), "3 (503 1, EOF 1, wrong body 1)"; got != want || own.Sent != 4 {
		t.Errorf("got %s of %d, want %s of 4", got, own.Sent, want)
	}
	srv.Close()
	own = tally{}
	own.add(c.request(1))
	if got, want := own.String(), "1 (refused 1)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestOptions(t *testing.T) {
	for name, o := range map[string]options{
		"engine":   {engine: "nomad", updates: 1, replicas: 2},
		"updates":  {engine: "swarm", replicas: 2},
		"no image": {engine: "kubernetes", updates: 1, replicas: 2},
	} {
		if err := run(t.Context(), io.Discard, o); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
