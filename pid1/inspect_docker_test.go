// SPDX-License-Identifier: MIT

//go:build docker

package pid1_test

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

// inContainer returns the flags with which docker run finds this test as /test,
// and with which it plays the helper.
func inContainer(t *testing.T, helper string) (flags []string) {
	t.Helper()
	cmd := nstest.Child(t, helper)
	for _, variable := range cmd.Env[len(os.Environ()):] {
		flags = append(flags, "--env", variable)
	}
	return append(flags, "--volume", cmd.Path+":/test:ro")
}

func TestInspectInDocker(t *testing.T) {
	image := dockertest.GoImage(t)
	neighbour := dockertest.Run(t, image, []string{"--entrypoint", "sleep"}, "1000")

	tests := []struct {
		name  string
		flags []string
		args  []string
		want  func(finding) bool
	}{
		{"exec form", []string{"--pids-limit", "77"}, []string{"/test"}, func(f finding) bool {
			return f.Init && f.InitName == "test" && f.Warning == "" && f.PidsMax == 77 && len(f.Unknown) == 0
		}},
		{"shell form", []string{"--entrypoint", "dash"}, []string{"-c", "/test --port 8080"}, func(f finding) bool {
			return f.ShellForm && strings.Contains(f.Warning, `write ENTRYPOINT ["/test", "--port", "8080"] (exec form)`)
		}},
		{"--init", []string{"--init"}, []string{"/test"}, func(f finding) bool {
			return f.InitName == "docker-init" && f.Parent == 1 && f.Warning == ""
		}},
		{"--init, shell form", []string{"--init"}, []string{"dash", "-c", "/test; true"}, func(f finding) bool {
			return f.InitName == "docker-init" && f.Parent != 1 && f.Warning == ""
		}},
		{"--pid=container", []string{"--pid", "container:" + neighbour.ID}, []string{"/test"}, func(f finding) bool {
			return f.InitName == "sleep" && f.Parent == 0 && !f.Init && f.Warning == ""
		}},
		{"--pid=host", []string{"--pid", "host"}, []string{"/test"}, func(f finding) bool {
			return f.InitName != "" && f.PID > 1 && f.Parent > 1
		}},
		{"--user --read-only", []string{"--user", "65534:65534", "--read-only", "--cap-drop", "ALL"}, []string{"/test"}, func(f finding) bool {
			return f.Init && f.InitName == "test" && len(f.Unknown) == 0
		}},
		{"Kubernetes's variables", []string{"--env", "KUBERNETES_SERVICE_HOST=10.0.0.1"}, []string{"/test"}, func(f finding) bool {
			return f.Orchestrator == "kubernetes"
		}},
	}
	for _, tt := range tests {
		args := slices.Concat([]string{"run", "--rm"}, inContainer(t, "inspect"), tt.flags, []string{image}, tt.args)
		out := dockertest.Docker(t, args...)
		var got finding
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("%s: %v: %s", tt.name, err, out)
		}
		if !tt.want(got) || got.Runtime != "docker" {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
}

// docker exec starts a process whose parent is outside of the container.
func TestInspectInDockerExec(t *testing.T) {
	flags := inContainer(t, "inspect")
	c := dockertest.Run(t, dockertest.GoImage(t), append(flags[2:], "--entrypoint", "dash"), "-c", "sleep 1000; true")
	var got finding
	out := dockertest.Docker(t, "exec", flags[0], flags[1], c.ID, "/test")
	if err := json.Unmarshal([]byte(out), &got); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if got.Parent != 0 || got.InitName != "dash" || got.ShellForm || got.Warning != "" {
		t.Errorf("got %+v", got)
	}
}
