// SPDX-License-Identifier: MIT

//go:build docker && long && linux

package deploy

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

// composeCommand is the plugin, or the program that came before it.
func composeCommand() []string {
	if exec.Command("docker", "compose", "version").Run() == nil {
		return []string{"docker", "compose"}
	}
	return []string{"docker-compose"}
}

// The file brings up the job, then the service, which keeps what it is given and
// ends with 0, inside its grace.
func TestComposeRuns(t *testing.T) {
	image := dockertest.Build(t, "examples/service/Dockerfile")
	project := strings.ReplaceAll(image, ":", "-")
	compose := func(args ...string) (string, error) {
		line := append(composeCommand(), append([]string{"-f", "compose.yaml", "-p", project}, args...)...)
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Env = append(os.Environ(), "SERVICE_IMAGE="+image, "SERVICE_PORT=127.0.0.1:")
		out, err := cmd.CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w\n%s", strings.Join(line, " "), err, out)
		}
		return strings.TrimSpace(string(out)), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := compose(args...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	must("config", "--quiet")
	t.Cleanup(func() {
		if out, err := compose("down", "--volumes", "--remove-orphans"); err != nil {
			t.Errorf("left behind: %v\n%s", err, out)
		}
	})
	must("up", "--detach", "--no-build")
	await(t, "a healthy service", func() bool {
		return dockertest.Docker(t, "inspect", "--format", "{{.State.Health.Status}}", must("ps", "--quiet", "service")) == "healthy"
	})

	addr := must("port", "service", "8080")
	res, err := http.Post("http://"+addr+"/notes", "text/plain", strings.NewReader("a note"))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != http.StatusCreated {
		t.Errorf("POST /notes: %s", res.Status)
	}
	id := must("ps", "--quiet", "service")
	must("stop", "service")
	if got := dockertest.Docker(t, "inspect", "--format", "{{.State.ExitCode}} {{.HostConfig.ReadonlyRootfs}}", id); got != "0 true" {
		t.Errorf("got %s, want 0 true: exit code, read-only; log:\n%s", got, must("logs", "service"))
	}
	if log := must("logs", "service"); !strings.Contains(log, "SIGKILL at 20s, from $SHUTDOWN_GRACE") {
		t.Errorf("the stop has not 20 s:\n%s", log)
	}
}

// The stack comes up, is updated under way, and every old task ends with 0.
func TestStackRuns(t *testing.T) {
	image := dockertest.Build(t, "examples/http/Dockerfile")
	dockertest.Swarm(t)
	name := strings.ReplaceAll(image, ":", "-")
	stack := exec.Command("docker", "stack", "deploy", "--resolve-image", "never", "-c", "stack.yaml", name)
	stack.Env = append(os.Environ(), "HTTP_IMAGE="+image)
	t.Cleanup(func() {
		dockertest.Docker(t, "stack", "rm", name)
		await(t, "no container of the stack", func() bool {
			return dockertest.Docker(t, "ps", "--all", "--quiet", "--filter", "label=com.docker.stack.namespace="+name) == ""
		})
	})
	if out, err := stack.CombinedOutput(); err != nil {
		t.Fatalf("docker stack deploy: %v\n%s", err, out)
	}
	running := func(format string) []string {
		return strings.Fields(dockertest.Docker(t, "ps", "--quiet", "--format", format, "--filter", "label=com.docker.stack.namespace="+name))
	}
	await(t, "two tasks", func() bool { return len(running("{{.ID}}")) == 2 })
	old := running("{{.ID}}")
	for _, id := range old {
		if got := dockertest.Docker(t, "inspect", "--format", "{{.Config.User}} {{.HostConfig.ReadonlyRootfs}} {{.Config.StopTimeout}}", id); !strings.HasPrefix(got, "65534:65534 true") {
			t.Errorf("got %s, want 65534:65534 true: user, read-only", got)
		}
	}

	dockertest.Docker(t, "service", "update", "--detach", "--force", "--no-resolve-image", name+"_http")
	await(t, "two new tasks", func() bool {
		now := strings.Join(running("{{.ID}}"), " ")
		return len(strings.Fields(now)) == 2 && !strings.Contains(now, old[0]) && !strings.Contains(now, old[1])
	})
	for _, id := range old {
		if got := dockertest.Docker(t, "inspect", "--format", "{{.State.ExitCode}}", id); got != "0" {
			t.Errorf("an old task ended with %s, want 0", got)
		}
		log, err := exec.Command("docker", "logs", id).CombinedOutput()
		if err != nil || !strings.Contains(string(log), "SIGKILL at 20s, from $SHUTDOWN_GRACE") {
			t.Errorf("the stop has not 20 s: %v\n%s", err, log)
		}
	}
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !done(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no %s after two minutes", what)
		}
	}
}
