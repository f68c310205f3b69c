// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/check"
	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/imagetest"
)

// A spec is an image, or several that make an index, and the arguments of docker run.
type spec struct {
	config v1.Config
	files  imagetest.Files
	args   []string
	also   *spec // for another platform
	arch   string
}

func entrypoint(words ...string) v1.Config {
	return v1.Config{Entrypoint: words, User: "65534:65534"}
}

func (s spec) with(change func(*v1.Config)) spec {
	change(&s.config)
	return s
}

const sh = "/bin/sh"

// samples has, for each code, an image with that finding and one like it without.
func samples(t *testing.T) map[string][2]spec {
	plain, withLibrary := imagetest.Program(t, "plain"), imagetest.Program(t, "app")
	app := plain // which is smaller
	asks := imagetest.Program(t, "asks")
	pie := imagetest.Program(t, "plain", "-buildmode=pie")
	dynamic, err := os.ReadFile("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	foreign := []byte(app)
	foreign[18], foreign[19] = 22, 0 // s390x, but little-endian
	loaders := imagetest.Text("lib64/ld-linux-x86-64.so.2", "", "lib/ld-linux-aarch64.so.1", "")

	good := spec{config: entrypoint("/app"), files: imagetest.Text("app", app)}
	dash := imagetest.Text("bin/sh", "→ dash", "bin/dash", plain, "bin/env", plain, "app", app)
	run := func(files imagetest.Files, words ...string) spec {
		return spec{config: entrypoint(words...), files: files}
	}
	script := func(text string) spec {
		s := run(dash.With(imagetest.Text("start.sh", "#!/bin/sh\n"+text)), "/start.sh")
		s.config.Cmd = []string{"/app"}
		return s
	}
	firstLine := func(line string) spec {
		return run(dash.With(imagetest.Text("start.sh", line+"\nexec /app \"$@\"\n")), "/start.sh")
	}
	files := func(pairs ...string) spec { return run(good.files.With(imagetest.Text(pairs...)), "/app") }
	health := func(s spec, test ...string) spec {
		return s.with(func(c *v1.Config) { c.Healthcheck = &v1.HealthConfig{Test: test} })
	}
	stop := func(signal string) spec { return good.with(func(c *v1.Config) { c.StopSignal = signal }) }
	user := func(name string, pairs ...string) spec {
		return files(pairs...).with(func(c *v1.Config) { c.User = name })
	}
	cmdOnly := run(good.files).with(func(c *v1.Config) {
		c.Cmd, c.ExposedPorts = []string{"/app"}, map[string]struct{}{"8080/tcp": {}}
	})
	needy := run(imagetest.Text("app", asks, "etc/passwd", "root:x:0:0::/:/bin/sh\n", "etc/ssl/cert.pem", "x", "tmp/", ""), "/app")
	without := func(name string) spec {
		s := needy
		s.files = needy.files.With(nil)
		delete(s.files, name)
		return s
	}
	path := func(dir string) spec {
		return run(imagetest.Text(dir+"/app", app), "app").with(func(c *v1.Config) { c.Env = []string{"PATH=/bin:/opt/bin"} })
	}
	private := run(imagetest.Files{"app": {Text: app, Mode: 0o700}}, "/app")
	other := good.with(func(c *v1.Config) { c.Entrypoint = []string{"/app", "-v"} })
	other.arch = "s390x"
	same := good
	same.arch = "386" // whose programs are not looked at any further
	both := func(second spec) spec { s := good; s.also = &second; return s }

	return map[string][2]spec{
		"shell-form-entrypoint": {run(dash, sh, "-c", "/app --port 8080"), run(dash, sh, "-c", "exec /app --port 8080")},
		"shell-form-cmd": {
			run(dash).with(func(c *v1.Config) { c.Cmd = []string{sh, "-c", "/app"} }),
			run(dash).with(func(c *v1.Config) { c.Cmd = []string{"/app"} }),
		},
		"script-no-exec":         {script("/app \"$@\"\n"), script("exec \"$@\"\n")},
		"args-dropped":           {script("exec /app\n"), script("exec /app \"$@\"\n")},
		"args-split":             {script("exec $@\n"), script("exec \"$@\"\n")},
		"cmd-only":               {cmdOnly, cmdOnly.with(func(c *v1.Config) { c.Entrypoint, c.Cmd = c.Cmd, nil })},
		"no-command":             {run(good.files), good},
		"program-missing":        {run(good.files, "/application"), good},
		"program-directory":      {run(good.files.With(imagetest.Text("srv/", "")), "/srv"), good},
		"program-not-executable": {private, private.with(func(c *v1.Config) { c.User = "" })},
		"program-format":         {files("app", "echo hello\n"), files("bin/sh", plain, "app", "#!/bin/sh\nexec /bin/sh\n")},
		"program-path":           {path("opt/bin"), path("bin")},
		"wrong-architecture":     {files("app", string(foreign)), good},
		"interpreter-missing":    {firstLine("#!/bin/bash"), firstLine("#!/bin/sh")},
		"loader-missing":         {files("app", string(dynamic)), run(loaders.With(imagetest.Text("app", string(dynamic))), "/app")},
		"go-dynamic":             {files("app", pie), run(loaders.With(imagetest.Text("app", pie)), "/app")},
		"library-missing": {
			run(loaders.With(imagetest.Text("app", string(dynamic))), "/app"),
			run(loaders.With(imagetest.Text("app", string(dynamic), "usr/lib/libc.so.6", "")), "/app"),
		},
		"shebang-crlf":        {firstLine("#!/bin/sh\r"), firstLine("#!/bin/sh")},
		"shebang-too-long":    {firstLine("#!/" + strings.Repeat("x", 300)), firstLine("#!" + strings.Repeat(" ", 200) + "/bin/sh")},
		"shebang-env":         {firstLine("#!/bin/env bash"), firstLine("#!/bin/env dash")},
		"healthcheck-shell":   {health(good, "CMD-SHELL", "/app check || exit 1"), health(run(dash, "/app"), "CMD-SHELL", "/app check || exit 1")},
		"healthcheck-program": {health(run(dash, "/app"), "CMD-SHELL", "curl -f http://localhost || exit 1"), health(good, "CMD", "/app", "check")},
		"stopsignal-invalid":  {stop("SIGKILL"), stop("15")},
		"stopsignal-ignored":  {stop("SIGRTMIN+3"), stop("TERM")},
		"stopsignal-dumps":    {stop("SIGQUIT"), stop("SIGINT")},
		"user-missing":        {user("app"), user("app", "etc/passwd", "app:x:1000:1000::/:/bin/sh\n")},
		"root-user":           {user("0:0"), good},

		"ca-certificates-missing": {without("etc/ssl/cert.pem"), needy},
		"passwd-missing":          {without("etc/passwd"), needy},
		"tmp-missing":             {without("tmp/"), needy},
		"init-not-needed": {
			run(imagetest.Text("app", withLibrary, "sbin/tini", plain), "/sbin/tini", "-g", "-p", "SIGTERM", "--", "/app"),
			run(imagetest.Text("app", plain, "sbin/tini", plain), "/sbin/tini", "--", "/app"),
		},
		"platforms-differ": {both(other), both(same)},
	}
}

// Each finding is there once and not there once, in docker save's format and in an
// OCI layout.
func TestFindings(t *testing.T) {
	all := samples(t)
	for _, code := range check.Codes {
		t.Run(code.Name, func(t *testing.T) {
			t.Parallel()
			pair, ok := all[code.Name]
			if !ok {
				t.Fatal("no sample")
			}
			for n, s := range pair {
				got := s.check(t)
				at := slices.IndexFunc(got, func(f check.Finding) bool { return f.Code == code.Name })
				switch {
				case n == 0 && at < 0:
					t.Errorf("not found; only %+v", got)
				case n == 1 && at >= 0:
					t.Errorf("found where all is well: %+v", got[at])
				case n == 0:
					t.Logf("%s\n→ %s", got[at].Reason, got[at].Fix)
					if got[at].Severity != code.Severity || got[at].Reason == "" || got[at].Fix == "" {
						t.Errorf("got %+v, want severity %s, a reason and a fix", got[at], code.Severity)
					}
				}
			}
		})
	}
}

// An image as it should be has no finding at all.
func TestClean(t *testing.T) {
	good := spec{config: entrypoint("/app"), files: imagetest.Text("app", imagetest.Program(t, "app"))}
	if got := good.check(t); len(got) != 0 {
		t.Errorf("got %+v", got)
	}
}

// check writes the image, reads it as a program would, and returns all findings.
func (s spec) check(t *testing.T) []check.Finding {
	t.Helper()
	image := imagetest.Image(t, archOf(s), s.config, s.files)
	names := []string{imagetest.Save(t, image), imagetest.Layout(t, image)}
	if s.also != nil {
		also := imagetest.Image(t, archOf(*s.also), s.also.config, s.also.files)
		dir := imagetest.Layout(t, image, also)
		names = []string{dir, imagetest.TarDir(t, dir)}
	}
	var first []check.Finding
	for n, name := range names {
		r, code := runJSON(t, name)
		if want := map[bool]int{true: found, false: clean}[r.worst() >= check.Warning]; code != want {
			t.Errorf("exit code %d, want %d", code, want)
		}
		if n == 0 {
			first = r.all()
		} else if !slices.Equal(first, r.all()) {
			t.Errorf("%s: got %+v, in the other format %+v", name, r.all(), first)
		}
	}
	return first
}

func archOf(s spec) string {
	if s.arch != "" {
		return s.arch
	}
	return runtime.GOARCH
}

// runJSON runs the command with -json.
func runJSON(t *testing.T, args ...string) (*report, int) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(append([]string{"-json"}, args...), strings.NewReader(""), &stdout, &stderr)
	if code == unusable {
		t.Fatalf("%q: %s", args, stderr.String())
	}
	if strings.Contains(stdout.String(), `"findings": null`) {
		t.Errorf("%q: findings are null, which jq does not go through", args)
	}
	var r report
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return &r, code
}
