// SPDX-License-Identifier: MIT

//go:build unix

package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/entrypoint-go/entrypoint/internal/nstest"
)

func TestMain(m *testing.M) {
	nstest.Main(map[string]func() int{"entrypoint": func() int { main(); return 0 }})
	os.Exit(m.Run())
}

func command(t *testing.T, env []string, args ...string) (cmd *exec.Cmd, stderr *bytes.Buffer) {
	cmd = nstest.Command(t, "entrypoint", args...)
	cmd.Env = append(cmd.Env, env...)
	stderr = new(bytes.Buffer)
	cmd.Stderr = stderr
	return cmd, stderr
}

// TestExec: the program is PID 1, has its arguments unchanged, and finds its
// configuration.
func TestExec(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "app")
	env := []string{"APP_DIR=" + dir, "DATABASE_URL=postgres://db", "LISTEN=:8080"}
	cmd, stderr := command(t, env, "sh", "-c", `echo $$ "$@"; cat "$APP_DIR/app.conf"; exit 7`, "sh", "a b", "*")
	out, err := cmd.Output()
	if got := cmd.ProcessState.ExitCode(); got != 7 {
		t.Fatalf("exit code %d, %v, want the program's 7; stderr:\n%s", got, err, stderr)
	}
	want := "1 a b *\nlisten = \":8080\"\ndatabase = \"postgres://db\"\n"
	if got := string(out); got != want {
		t.Errorf("stdout %q, want %q", got, want)
	}
	if info, err := os.Stat(filepath.Join(dir, "app.conf")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the configuration: %v, %v, want 0600", info, err)
	}
}

// TestExistingFile: a configuration that others could read is replaced by one that
// they cannot, also if they have it open.
func TestExistingFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "app.conf")
	if err := os.WriteFile(file, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	open, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()

	cmd, stderr := command(t, []string{"APP_DIR=" + dir, "DATABASE_URL=postgres://db", "LISTEN=:8080"}, "true")
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v; stderr:\n%s", err, stderr)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the configuration: %v, %v, want 0600", info.Mode(), err)
	}
	if text, err := io.ReadAll(open); err != nil || string(text) != "old" {
		t.Errorf("who had the file open reads %q, %v", text, err)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) != 1 {
		t.Errorf("the directory has %v, %v", files, err)
	}
}

func TestFails(t *testing.T) {
	dir := t.TempDir()
	env := []string{"APP_DIR=" + dir, "DATABASE_URL=secret", "LISTEN=:8080"}
	tests := []struct {
		name string
		env  []string
		args []string
		code int
		want []string
	}{
		{"no environment", []string{"APP_DIR=", "DATABASE_URL=secret", "LISTEN="}, []string{"true"}, 1, []string{"APP_DIR", "LISTEN"}},
		{"no such program", env, []string{"no-such-program"}, 127, []string{"no-such-program"}},
		{"a directory", env, []string{"/"}, 126, []string{"directory"}},
		{"no program", env, nil, 127, []string{"argument list is empty"}},
	}
	for _, test := range tests {
		cmd, stderr := command(t, test.env, test.args...)
		cmd.Run()
		if got := cmd.ProcessState.ExitCode(); got != test.code {
			t.Errorf("%s: exit code %d, want %d; stderr:\n%s", test.name, got, test.code, stderr)
		}
		for _, want := range test.want {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%s: stderr does not say %q:\n%s", test.name, want, stderr)
			}
		}
		if strings.Contains(stderr.String(), "secret") {
			t.Errorf("%s: stderr shows a value:\n%s", test.name, stderr)
		}
	}
}
