// SPDX-License-Identifier: MIT

// Package deploy has files that deploy the examples. Its tests read each by a
// program that knows the format, and check what it cannot know.
package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// checkGrace checks that SHUTDOWN_GRACE is set and fits into what the
// orchestrator gives: with more, it would kill in the middle of the stop.
func checkGrace(t *testing.T, variable string, given time.Duration) {
	t.Helper()
	grace, err := time.ParseDuration(variable)
	if err != nil || grace <= 0 || grace > given {
		t.Errorf("SHUTDOWN_GRACE is %q, want a duration of %v at most", variable, given)
	}
}

// Every file says at its head what it is and how it is used.
func TestHeads(t *testing.T) {
	var files []string
	for _, pattern := range []string{"*.yaml", "kubernetes/*", "systemd/*", "quadlet/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		files = append(files, found...)
	}
	command := regexp.MustCompile(`(?m)^#     \S`)
	for _, name := range files {
		head, _, _ := strings.Cut(readFile(t, name), "\n\n")
		if !strings.HasPrefix(head, "# ") || !command.MatchString(head) && !strings.HasSuffix(name, ".socket") {
			t.Errorf("%s has no head with a command in it:\n%s", name, head)
		}
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var temp string // exists while the tests run

func TestMain(m *testing.M) {
	var err error
	if temp, err = os.MkdirTemp("", "deploy"); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(temp)
	os.Exit(code)
}

var buildOnce = sync.OnceValue(func() error {
	if out, err := exec.Command("go", "build", "-o", temp, "./activated").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
})

// activated is the program of that name, built.
func activated(t *testing.T) string {
	t.Helper()
	if err := buildOnce(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(temp, "activated")
}
