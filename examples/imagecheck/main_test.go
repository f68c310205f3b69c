// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/check"
	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/image"
	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/imagetest"
)

// The layout for people, whole.
func TestOutput(t *testing.T) {
	files := imagetest.Text("bin/sh", "→ dash", "bin/dash", imagetest.Program(t, "plain"), "app", imagetest.Program(t, "plain"))
	config := v1.Config{Entrypoint: []string{"/bin/sh", "-c", "/app $PORT"}, StopSignal: "SIGINT", User: "1000"}
	name := imagetest.Save(t, imagetest.Image(t, runtime.GOARCH, config, files))

	var stdout, stderr bytes.Buffer
	if code := run([]string{name}, nil, &stdout, &stderr); code != found {
		t.Errorf("exit code %d: %s", code, stderr.String())
	}
	want := `app:test  linux/` + runtime.GOARCH + `
  runs     ["/bin/sh", "-c", "/app $PORT"]
           ENTRYPOINT ["/bin/sh", "-c", "/app $PORT"], which it always runs
  PID 1    /bin/sh
  program  /app: command-line-arguments, a Go program of ` + runtime.Version() + `
  stop     SIGINT does not reach the program
  user     1000

  error    shell-form-entrypoint  PID 1 is /bin/sh, which runs "/bin/sh -c /app $PORT", and does not forward SIGINT: a stop takes the whole grace period and ends in SIGKILL
                                  → write ENTRYPOINT ["/bin/sh", "-c", "exec /app $PORT"]

1 error
`
	got := stdout.String()
	got = strings.Replace(got, "github.com/entrypoint-go/entrypoint/examples/imagecheck/testdata/plain", "command-line-arguments", 1)
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if strings.Contains(got, "\x1b") {
		t.Error("colours, and no terminal")
	}
}

func TestColours(t *testing.T) {
	r := &report{Findings: []check.Finding{{Code: "x", Severity: check.Error, Reason: "a\x1b[31m\nb"}}}
	var with, without bytes.Buffer
	r.write(&with, true)
	r.write(&without, false)
	if !strings.Contains(with.String(), "\x1b[31merror   \x1b[0m x") || strings.Contains(without.String(), "\x1b") {
		t.Errorf("got %q and %q", with.String(), without.String())
	}
	if !strings.Contains(without.String(), "a�[31m�b") {
		t.Errorf("what an image says reaches the terminal: %q", without.String())
	}
	t.Setenv("NO_COLOR", "1")
	if colours(os.Stdout) {
		t.Error("colours in spite of NO_COLOR")
	}
}

// What the same image runs with and without arguments.
func TestArgs(t *testing.T) {
	app := imagetest.Program(t, "plain")
	config := v1.Config{Entrypoint: []string{"/start.sh"}, Cmd: []string{"/app", "serve"}, User: "1:1"}
	files := imagetest.Text("start.sh", "#!/bin/sh\nexec \"$@\"\n", "bin/sh", app, "app", app, "bin/echo", imagetest.Program(t, "plain"))
	name := imagetest.Save(t, imagetest.Image(t, runtime.GOARCH, config, files))
	for _, tt := range []struct {
		flags   []string
		runs    []string
		program string
		code    int
	}{
		{nil, []string{"/start.sh", "/app", "serve"}, "/app", clean},
		{[]string{"-args", "echo 'a b'"}, []string{"/start.sh", "echo", "a b"}, "/bin/echo", clean},
		{[]string{"-args", "none"}, []string{"/start.sh", "none"}, "none", found},
		{[]string{"-args", ""}, []string{"/start.sh"}, "", clean},
	} {
		r, code := runJSON(t, append(tt.flags, name)...)
		if got := r.Images[0]; !slices.Equal(got.Runs, tt.runs) || got.Program.Path != tt.program || code != tt.code {
			t.Errorf("%q: runs %q, program %q, exit code %d; want %+v", tt.flags, got.Runs, got.Program.Path, code, tt)
		}
	}
}

// Who is PID 1 at the end of a chain, and does a signal reach the program?
func TestChain(t *testing.T) {
	plain := imagetest.Program(t, "plain")
	app := plain
	files := imagetest.Text("app", app, "bin/tini", plain, "bin/gosu", plain, "bin/busybox", plain, "bin/bash", plain, "bin/dash", plain, "bin/env", plain,
		"exec.sh", "#!/bin/dash\nexec tini -- \"$@\"\n", "stays.sh", "#!/bin/env bash\n\"$@\"\n", "drop.sh", "#!/bin/dash\nexec gosu nobody \"$@\"\n",
		"trap.sh", "#!/bin/dash\ntrap 'kill $p' TERM\n/app &\np=$!\nwait $p\n", "chosen.sh", "#!/bin/dash\nexec $APP\n")
	for _, tt := range []struct {
		argv          []string
		pid1, program string
		reaches       check.Reach
	}{
		{[]string{"/app"}, "/app", "/app", check.Reaches},
		{[]string{"tini", "--", "/app"}, "/bin/tini", "/app", check.Reaches},
		{[]string{"/exec.sh", "/app"}, "/bin/tini", "/app", check.Reaches},
		{[]string{"/stays.sh", "/app"}, "/stays.sh", "/app", check.Lost},
		{[]string{"/drop.sh", "/exec.sh", "/app"}, "/bin/tini", "/app", check.Reaches},
		{[]string{"tini", "--", "/stays.sh", "/app"}, "/bin/tini", "/app", check.Lost},
		{[]string{"tini", "--", "/bin/dash", "-c", "/app"}, "/bin/tini", "/app", check.Lost},
		{[]string{"/bin/dash", "-c", "/app"}, "/bin/dash", "/app", check.Lost},
		{[]string{"/bin/bash", "-c", "/app"}, "/app", "/app", check.Reaches},
		{[]string{"/bin/busybox", "sh", "-c", "/app"}, "/app", "/app", check.Reaches},
		{[]string{"/bin/dash", "-c", `exec "$0" "$@"`, "/app"}, "what dash executes", "", check.Reaches},
		{[]string{"/chosen.sh"}, "what chosen.sh executes", "", check.Reaches},
		{[]string{"env", "A=1", "/app"}, "/app", "/app", check.Reaches},
		{[]string{"/bin/dash"}, "/bin/dash", "/bin/dash", check.Reaches},
	} {
		s := spec{config: entrypoint(tt.argv...), files: files}
		r, _ := runJSON(t, imagetest.Save(t, imagetest.Image(t, runtime.GOARCH, s.config, s.files)))
		if got := r.Images[0]; got.PID1 != tt.pid1 || got.Program.Path != tt.program || got.Reaches != tt.reaches {
			t.Errorf("%q: PID 1 %q, program %q, reaches %q; want %+v; findings %+v", tt.argv, got.PID1, got.Program.Path, got.Reaches, tt, got.Findings)
		}
	}
}

// Arguments that nobody reads, and a shell's command line for a program that is none.
func TestArguments(t *testing.T) {
	files := imagetest.Text("app", imagetest.Program(t, "plain"), "lib.sh", "", "bin/sh", "→ dash", "bin/dash", imagetest.Program(t, "plain"))
	for _, tt := range []struct {
		entry, cmd []string
		want       string
	}{
		{[]string{"/app"}, []string{"/bin/sh", "-c", "serve"}, "warning shell-form-cmd"},
		{[]string{"/app"}, []string{"-v"}, ""},
		{[]string{"/bin/sh", "-c", "exec /app"}, []string{"-v"}, "warning args-dropped"},
		{[]string{"/bin/sh", "-c", `exec /app "$@"`, "sh"}, []string{"-v"}, ""},
		{[]string{"/bin/sh", "-c", "exec /app"}, nil, ""},
	} {
		config := v1.Config{Entrypoint: tt.entry, Cmd: tt.cmd, User: "1"}
		r, _ := runJSON(t, imagetest.Save(t, imagetest.Image(t, runtime.GOARCH, config, files)))
		got := ""
		for _, f := range r.all() {
			got += f.Severity.String() + " " + f.Code
		}
		if got != tt.want {
			t.Errorf("%q %q: got %q, want %q", tt.entry, tt.cmd, got, tt.want)
		}
	}
}

func TestUnusable(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("no image"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{text}, {"/none"}, {t.TempDir()}, {"-"}, {}, {"a", "b"}, {"-fail", "never", text}, {"-args", "a; b", text}, {"-unknown"},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(args, strings.NewReader("x"), &stdout, &stderr); code != unusable || stdout.Len() > 0 || stderr.Len() == 0 {
			t.Errorf("%q: exit code %d, stdout %q, stderr %q", args, code, stdout.String(), stderr.String())
		}
	}
	if code := run([]string{"-h"}, nil, &bytes.Buffer{}, &bytes.Buffer{}); code != clean {
		t.Errorf("-h: exit code %d", code)
	}
}

// -fail chooses what fails.
func TestFail(t *testing.T) {
	files := imagetest.Text("app", imagetest.Program(t, "plain"))
	name := imagetest.Save(t, imagetest.Image(t, runtime.GOARCH, v1.Config{Entrypoint: []string{"/app"}, StopSignal: "SIGUSR1"}, files))
	for fail, want := range map[string]int{"note": found, "warning": found, "error": clean} {
		if _, code := runJSON(t, "-fail", fail, name); code != want {
			t.Errorf("-fail %s: exit code %d, want %d", fail, code, want)
		}
	}
}

// What the main program tells Files to keep is what the check reads: nothing has
// to be read twice.
func TestWanted(t *testing.T) {
	i := &image.Image{Config: v1.Config{Entrypoint: []string{"/opt/start.sh"}, Cmd: []string{"/bin/sh", "-c", "exec '/srv/app' -v"}}}
	keep := wanted(i, []string{"/bin/other"})
	for _, name := range []string{"start.sh", "sh", "app", "other", "passwd"} {
		if !keep(name) {
			t.Errorf("%s is not kept", name)
		}
	}
	if keep("libc.so.6") {
		t.Error("everything is kept")
	}
}

// The documentation has all codes, and no other ones.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/imagecheck.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## Findings\n")
	table, _, _ = strings.Cut(table, "\n\n`")
	want := "\n| code | severity | meaning |\n|---|---|---|\n"
	for _, c := range check.Codes {
		want += "| `" + c.Name + "` | " + c.Severity.String() + " | " + c.Meaning + " |\n"
	}
	if table+"\n" != want {
		t.Errorf("docs/imagecheck.md: got\n%s\nwant\n%s", table, want)
	}

	// Each of the seven rows has findings.
	text, err = os.ReadFile("../../docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ = strings.Cut(string(text), "| symptom | cause | finding |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	rows := strings.Split(table, "\n")
	if len(rows) != 7 {
		t.Errorf("%d rows, want 7", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(row, "|")
		for code := range strings.SplitSeq(cells[len(cells)-2], ",") {
			code = strings.Trim(code, " `")
			if !slices.ContainsFunc(check.Codes, func(c check.Code) bool { return c.Name == code }) {
				t.Errorf("%s: no finding %q", row, code)
			}
		}
	}
}
