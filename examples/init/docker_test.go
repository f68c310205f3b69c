// SPDX-License-Identifier: MIT

//go:build docker && linux

package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

func TestDocker(t *testing.T) {
	image := dockertest.Build(t, "examples/init/Dockerfile")

	// What runs under it is from the image with a shell that there is anyway.
	dir := t.TempDir()
	file := filepath.Join(dir, "init")
	container := dockertest.Docker(t, "create", image)
	dockertest.Docker(t, "cp", container+":/init", file)
	dockertest.Docker(t, "rm", container)
	base := dockertest.GoImage(t)
	under := []string{"--volume", file + ":/init:ro", "--entrypoint", "/init"}

	t.Run("image", func(t *testing.T) {
		got := dockertest.Docker(t, "image", "inspect", "--format", "{{json .Config.Entrypoint}} {{len .RootFS.Layers}}", image)
		if want := `["/init"] 1`; got != want {
			t.Errorf("got %s, want %s: entrypoint, layers", got, want)
		}
		if got := dockertest.Docker(t, "run", "--rm", image, "-h"); !strings.Contains(got, "Usage:") {
			t.Errorf("-h: got %q", got)
		}
	})

	t.Run("status", func(t *testing.T) {
		for command, want := range map[string]int{
			"exit 0": 0, "exit 42": 42, "exit 255": 255, "kill -9 $$": 137, "kill -TERM $$": 143,
		} {
			c := dockertest.Run(t, base, under, "--", "sh", "-c", command)
			if got := c.Wait(); got != want {
				t.Errorf("%s: got %d, want %d", command, got, want)
			}
		}
		for program, want := range map[string]int{"/no/such": 127, "no-such": 127, "/": 126, "/etc/passwd": 126} {
			c := dockertest.Run(t, base, under, "--", program)
			if got := c.Wait(); got != want {
				t.Errorf("%s: got %d, want %d", program, got, want)
			}
		}
	})

	t.Run("signals", func(t *testing.T) {
		for signal, want := range map[string]int{"TERM": 143, "USR1": 138, "USR2": 140, "HUP": 129, "KILL": 137, "35": 163} {
			for _, flags := range [][]string{nil, {"--init"}, {"--user", "65534:65534", "--read-only", "--cap-drop", "ALL"}} {
				c := dockertest.Run(t, base, append(flags, under...), "--", "sh", "-c", "echo ready; exec sleep 60")
				c.AwaitLog("ready")
				c.Signal(signal)
				if got := c.Wait(); got != want {
					t.Errorf("%v, docker kill -s %s: got %d, want %d", flags, signal, got, want)
				}
			}
		}
	})

	t.Run("stop", func(t *testing.T) {
		for signal, want := range map[string]int{"": 143, "SIGUSR1": 138, "SIGRTMIN+1": 163} {
			c := dockertest.Run(t, base, append([]string{"--stop-signal", signal}, under...), "--", "sh", "-c", "echo ready; exec sleep 60")
			c.AwaitLog("ready")
			c.Stop(20 * time.Second)
			if got := c.Wait(); got != want {
				t.Errorf("docker stop with %q: got %d, want %d", signal, got, want)
			}
		}
	})

	t.Run("orphans", func(t *testing.T) {
		const script = `
			for i in $(seq 100); do sh -c 'sleep 0.2 & exit 0'; done
			sleep 1
			for i in $(seq 100); do
				grep -l ') Z ' /proc/[0-9]*/stat >/dev/null || exit 9
				sleep 0.1
			done`
		c := dockertest.Run(t, base, under, "--", "sh", "-c", script)
		if got := c.Wait(); got != 9 {
			t.Errorf("zombies after 10s: got status %d, want 9", got)
		}
	})

	// It is not PID 1 there, and must leave the others alone.
	t.Run("shared PID namespace", func(t *testing.T) {
		first := dockertest.Run(t, base, under, "--", "sh", "-c", "echo ready; sleep 60")
		first.AwaitLog("ready")
		second := dockertest.Run(t, base, append([]string{"--pid", "container:" + first.ID}, under...), "-s", "-t", "1s", "--", "sh", "-c", "sleep 60 & exit 5")
		if got, want := second.Wait(), 5; got != want {
			t.Errorf("got status %d, want %d", got, want)
		}
		if !first.Running() {
			t.Error("the first container has ended")
		}
	})

	t.Run("terminal", func(t *testing.T) {
		args := append([]string{"run", "--rm", "-it"}, under...)
		cmd := exec.Command("docker", append(append(args, base), bash...)...)
		tty := onTerminal(t, cmd)
		tty.shows(t, "prompt> ")
		tty.types(t, "sleep 60; echo status=$?\n")
		time.Sleep(time.Second) // sleep(1) gives no sign of life
		tty.types(t, ctrlC)
		tty.shows(t, "prompt> ")
		tty.types(t, "sleep 60\n")
		time.Sleep(time.Second)
		tty.types(t, ctrlZ)
		tty.shows(t, "Stopped")
		// A shell that still knows of a stopped job would not exit.
		tty.types(t, "job=$(jobs -p); disown -a; kill -KILL $job; exit 3\n")
		if got, want := wait(t, cmd), 3; got != want {
			t.Errorf("got status %d, want %d", got, want)
		}
	})

	t.Run("node", func(t *testing.T) {
		node := dockertest.Build(t, "examples/init/Dockerfile.node", "--build-arg", "INIT="+image, "--build-arg", "NODE="+nodeImage(t))
		c := dockertest.Run(t, node, []string{"--read-only", "--cap-drop", "ALL"})
		c.AwaitLog("serving")
		out, err := exec.Command("curl", "--silent", "--show-error", "--fail", "http://"+c.Addr("8080")+"/").CombinedOutput()
		if !regexp.MustCompile(`^hello from process (?:[2-9]|\d\d+), 0\n$`).Match(out) {
			t.Errorf("got %q, %v, want a hello from a process that is not 1", out, err)
		}
		c.Stop(20 * time.Second)
		if got, want := c.Wait(), 3; got != want || !strings.Contains(c.Log(), "closed") {
			t.Errorf("docker stop: got status %d, want %d and the last words in:\n%s", got, want, c.Log())
		}
	})
}

// nodeImage is the image that Dockerfile.node names or, where no registry can be
// reached, this machine's Node on the image that there is.
func nodeImage(t *testing.T) string {
	t.Helper()
	const official = "node:22-slim"
	if exec.Command("docker", "image", "inspect", official).Run() == nil || exec.Command("docker", "pull", "--quiet", official).Run() == nil {
		return official
	}
	const dockerfile = "FROM golang:1.26\nCOPY . /\n"
	dir := t.TempDir()
	script := `
		node=$(readlink -f "$(command -v node)")
		for file in "$node" $(ldd "$node" | grep -o '/[^ ]*'); do
			mkdir -p "$0$(dirname "$file")"; cp -L "$file" "$0$file"
		done
		test -e "$0/usr/bin/node" || { mkdir -p "$0/usr/bin"; cp "$node" "$0/usr/bin/node"; }`
	if out, err := exec.Command("sh", "-e", "-c", script, dir).CombinedOutput(); err != nil {
		t.Fatalf("copy this machine's Node: %v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o644); err != nil {
		t.Fatal(err)
	}
	const image = "entrypoint-test-node"
	dockertest.Docker(t, "build", "--tag", image, dir)
	t.Cleanup(func() {
		if err := exec.Command("docker", "rmi", "--force", image).Run(); err != nil && !errors.Is(err, exec.ErrNotFound) {
			t.Error(err)
		}
	})
	return image
}
