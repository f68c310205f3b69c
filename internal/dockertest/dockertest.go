// SPDX-License-Identifier: MIT

// Package dockertest builds images and runs containers for tests, by the
// docker command. It is to containers what net/http/httptest is to servers.
//
// Tests that use it carry the build tag docker, which says that there is an
// engine: nothing here skips, what cannot be had fails the test. Run them with
//
//	go test -p 1 -tags docker ./...
//
// in which -p 1 keeps the packages from making the same base image twice, and
// from disturbing each other's timing.
package dockertest

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Docker runs the docker command with these arguments and returns its standard
// output without the white space around it. A failure ends the test.
func Docker(t testing.TB, args ...string) string {
	t.Helper()
	out, err := docker(args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func docker(args ...string) (string, error) {
	return output(exec.Command("docker", args...))
}

// output is what cmd writes to stdout; what it writes to stderr goes into the
// error.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), err, stdout.Bytes(), stderr.Bytes())
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Root is the root of the repository, which is the build context of all its
// examples, also of those with a go.mod of their own.
func Root(t testing.TB) string {
	t.Helper()
	dir, err := output(exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/entrypoint-go/entrypoint"))
	if err != nil {
		t.Fatalf("dockertest: where is the repository? %v", err)
	}
	return dir
}

// Build builds an image from dockerfile, a path below Root, with Root as the
// context, and returns its name. The flags are added to docker build's. The
// image is removed at the end of the test; its layers stay in the build cache.
func Build(t testing.TB, dockerfile string, flags ...string) (image string) {
	t.Helper()
	GoImage(t)
	root := Root(t)
	image = fmt.Sprintf("entrypoint-test:%x", time.Now().UnixNano())

	// Host networking, because a machine that reaches the module proxy only by
	// its own address or resolver is no reason to fail.
	args := append([]string{"build", "--network=host", "--force-rm", "-t", image, "-f", filepath.Join(root, dockerfile)}, flags...)
	Docker(t, append(args, root)...)
	t.Cleanup(func() { docker("rmi", "--force", image) })
	return image
}

// A Container has been started by Run.
type Container struct {
	ID string
	t  testing.TB
}

// Run starts a container from image with the flags of docker run and the
// arguments of its command. It is removed at the end of the test, and its log
// shown if the test has failed.
func Run(t testing.TB, image string, flags []string, args ...string) *Container {
	t.Helper()
	run := append([]string{"run", "--detach"}, flags...)
	id := Docker(t, append(append(run, image), args...)...)
	c := &Container{ID: id, t: t}
	t.Cleanup(c.remove)
	return c
}

func (c *Container) remove() {
	if c.t.Failed() {
		c.t.Logf("container %.12s, state %s, log:\n%s", c.ID, c.Inspect("{{json .State}}"), c.Log())
	}
	if _, err := docker("rm", "--force", "--volumes", c.ID); err != nil {
		c.t.Errorf("a container is left behind: %v", err)
	}
}

// Inspect is docker inspect with this Go template.
func (c *Container) Inspect(format string) string {
	c.t.Helper()
	return Docker(c.t, "inspect", "--format", format, c.ID)
}

// Addr is the address of a port in the container's own network. Only a Linux
// host reaches it. A published port has Docker's proxy before it, which accepts
// whether or not the container does, and then hangs up.
//
// Another container may have had the address a moment ago, and the host may
// still look for that one's interface: "no route to host". So Addr returns when
// the container answers, if only that nobody listens on port 1, or has ended.
func (c *Container) Addr(port string) string {
	c.t.Helper()
	ip := c.Inspect("{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", ip+":1", time.Second)
		if err == nil {
			conn.Close()
		}
		if err == nil || errors.Is(err, syscall.ECONNREFUSED) || !c.Running() {
			return ip + ":" + port
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("container %.12s does not answer: %v", c.ID, err)
		}
	}
}

// Log is what the container has written to stdout and stderr so far.
func (c *Container) Log() string {
	c.t.Helper()
	out, err := exec.Command("docker", "logs", c.ID).CombinedOutput()
	if err != nil {
		c.t.Fatalf("docker logs: %v\n%s", err, out)
	}
	return string(out)
}

// AwaitLog returns when the log contains text. After a minute, or when the
// container ends without it, the test fails.
func (c *Container) AwaitLog(text string) {
	c.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		running := c.Running() // asked first: the last words come before the end
		if strings.Contains(c.Log(), text) {
			return
		}
		if !running || time.Now().After(deadline) {
			c.t.Fatalf("container %.12s never logged %q (running: %t)", c.ID, text, running)
		}
	}
}

// Running reports whether the container still runs.
func (c *Container) Running() bool {
	c.t.Helper()
	return c.Inspect("{{.State.Running}}") == "true"
}

// Stop is docker stop: SIGTERM and, when grace is over, SIGKILL. It returns
// when the container has ended.
func (c *Container) Stop(grace time.Duration) {
	c.t.Helper()
	Docker(c.t, "stop", "--time", fmt.Sprint(int(grace.Seconds())), c.ID)
}

// Signal is docker kill: it sends a signal, SIGTERM for instance, to PID 1.
func (c *Container) Signal(name string) {
	c.t.Helper()
	Docker(c.t, "kill", "--signal", name, c.ID)
}

// Wait returns the exit code of the container when it has ended.
func (c *Container) Wait() int {
	c.t.Helper()
	var code int
	if _, err := fmt.Sscan(Docker(c.t, "wait", c.ID), &code); err != nil {
		c.t.Fatal(err)
	}
	return code
}

// Finished is when the container ended, by the clock of the engine.
func (c *Container) Finished() time.Time {
	c.t.Helper()
	at, err := time.Parse(time.RFC3339Nano, c.Inspect("{{.State.FinishedAt}}"))
	if err != nil {
		c.t.Fatal(err)
	}
	return at
}
