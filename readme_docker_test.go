// SPDX-License-Identifier: MIT

//go:build docker && linux

package entrypoint_test

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

// What README.md shows first works as a new user would try it: its program in a
// module of its own, its Dockerfile, docker run, docker stop. Only "go get" is
// replaced, by this checkout.
func TestReadmeImage(t *testing.T) {
	dockertest.GoImage(t)
	dir := userModule(t, 0)
	write(t, filepath.Join(dir, "Dockerfile"), []byte(fencedBlock(t, "dockerfile")))

	const image = "entrypoint-test:readme"
	dockertest.Docker(t, "build", "--network=host", "--force-rm", "-t", image, dir)
	t.Cleanup(func() { exec.Command("docker", "rmi", "--force", image).Run() })

	c := dockertest.Run(t, image, nil)
	c.AwaitLog("serving")
	resp, err := http.Get("http://" + c.Addr("8080") + "/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNotFound {
		t.Errorf("got status %d, want that of an empty ServeMux, 404", resp.StatusCode)
	}
	c.Stop(10 * time.Second)
	if code := c.Wait(); code != 0 {
		t.Errorf("exit code: got %d, want 0", code)
	}
}

// The second program says why it does not start: it links no driver.
func TestReadmeSecondProgram(t *testing.T) {
	cmd := exec.Command("go", "run", ".")
	cmd.Dir = userModule(t, 1)
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "unknown driver") || !strings.Contains(string(out), "exit status 1") {
		t.Errorf("got %v, want exit status 1 and the reason in the log:\n%s", err, out)
	}
}

// userModule is a folder with the nth program of README.md as a module.
func userModule(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "main.go"), []byte(goBlocks("README.md", readFile(t, "README.md"))[n].code))
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"mod", "init", "example.com/app"},
		{"mod", "edit", "-replace", "github.com/entrypoint-go/entrypoint=" + root},
		{"mod", "tidy"},
		{"mod", "vendor"},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	return dir
}

// fencedBlock is the first block of README.md in a language.
func fencedBlock(t *testing.T, language string) string {
	t.Helper()
	_, after, found := strings.Cut(readFile(t, "README.md"), "\n```"+language+"\n")
	block, _, closed := strings.Cut(after, "\n```\n")
	if !found || !closed {
		t.Fatalf("README.md has no block in %s", language)
	}
	return block + "\n"
}
