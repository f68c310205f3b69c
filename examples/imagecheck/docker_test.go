// SPDX-License-Identifier: MIT

//go:build docker && long

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/entrypoint-go/entrypoint/examples/imagecheck/internal/imagetest"
	"github.com/entrypoint-go/entrypoint/internal/dockertest"
)

// What the engine makes of instructions in shell and in exec form.
func TestDockerfiles(t *testing.T) {
	context := t.TempDir()
	for name, text := range map[string]string{
		"app": imagetest.Program(t, "app"), "bin/dash": imagetest.Program(t, "plain"),
		"start.sh": "#!/bin/sh\nexec \"$@\"\n", "noexec.sh": "#!/bin/sh\n\"$@\"\n", "crlf.sh": "#!/bin/sh\r\nexec \"$@\"\r\n",
	} {
		file := filepath.Join(context, name)
		os.MkdirAll(filepath.Dir(file), 0o755)
		if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("dash", filepath.Join(context, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ instructions, want string }{
		{`ENTRYPOINT ["/app"]`, ""},
		{`ENTRYPOINT /app --port 8080`, "shell-form-entrypoint"},
		{`ENTRYPOINT ['/app']`, "shell-form-entrypoint"},
		{`ENTRYPOINT exec /app`, ""},
		{`CMD /app`, "shell-form-cmd"},
		{`CMD ["/app"]`, ""},
		{"EXPOSE 80\nCMD [\"/app\"]", "cmd-only"},
		{"ENTRYPOINT [\"/app\"]\nCMD serve", ""}, // the library may run its arguments
		{"ENTRYPOINT [\"/start.sh\"]\nCMD /app", "shell-form-cmd"},
		{"ENTRYPOINT [\"/start.sh\"]\nCMD [\"/app\"]", ""},
		{"ENTRYPOINT [\"/noexec.sh\"]\nCMD [\"/app\"]", "script-no-exec"},
		{"ENTRYPOINT [\"/crlf.sh\"]\nCMD [\"/app\"]", "shebang-crlf"},
		{"SHELL [\"/bin/dash\", \"-e\", \"-c\"]\nENTRYPOINT /app", "shell-form-entrypoint"},
		{"ENTRYPOINT [\"/app\"]\nHEALTHCHECK CMD /check", "healthcheck-program"},
		{"ENTRYPOINT [\"/app\"]\nHEALTHCHECK NONE", ""},
		{"ENTRYPOINT [\"/app\"]\nSTOPSIGNAL SIGQUIT", "stopsignal-dumps"},
		{"WORKDIR /bin\nENTRYPOINT [\"./dash\"]", ""},
		{"WORKDIR /bin\nENTRYPOINT [\"./app\"]", "program-missing"},
		{"ENTRYPOINT [\"/app -v\"]", "program-missing"},
		{"COPY --chmod=644 app /\nENTRYPOINT [\"/app\"]", "program-not-executable"},
	} {
		t.Run(tt.instructions, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "Dockerfile")
			text := "FROM scratch\nCOPY . /\nUSER 1:1\n" + tt.instructions + "\n"
			if strings.Contains(text, "--chmod") { // BuildKit has that, and no engine everywhere has BuildKit
				os.Chmod(filepath.Join(context, "app"), 0o644)
				defer os.Chmod(filepath.Join(context, "app"), 0o755)
				text = strings.Replace(text, "--chmod=644 ", "", 1)
			}
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			image := fmt.Sprintf("imagecheck-test:%x", time.Now().UnixNano())
			dockertest.Docker(t, "build", "--force-rm", "-t", image, "-f", file, context)
			t.Cleanup(func() { dockertest.Docker(t, "rmi", "--force", image) })
			codes := savedCodes(t, image)
			if got := strings.Join(codes, " "); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// The examples are as they should be, and what is noted is known: the service has
// an HTTP client, for its health check only, the entrypoint makes its temporary
// file in $APP_DIR, and the init runs as whom the image that copies it says.
func TestExamples(t *testing.T) {
	for name, want := range map[string]string{
		"http": "", "children": "", "entrypoint": "tmp-missing", "service": "ca-certificates-missing", "init": "root-user",
	} {
		t.Run(name, func(t *testing.T) {
			image := dockertest.Build(t, "examples/"+name+"/Dockerfile")
			if got := strings.Join(savedCodes(t, image), " "); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

// savedCodes returns the codes of what docker save writes, in a file and through
// a pipe.
func savedCodes(t *testing.T, image string) (codes []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "saved.tar")
	dockertest.Docker(t, "save", "-o", file, image)
	r, _ := runJSON(t, file)
	for _, f := range r.all() {
		t.Logf("%s: %s\n→ %s", f.Code, f.Reason, f.Fix)
		codes = append(codes, f.Code)
	}

	save := exec.Command("docker", "save", image)
	stdout, err := save.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := save.Start(); err != nil {
		t.Fatal(err)
	}
	piped, err := examine(options{archive: "-"}, stdout, nil)
	if err != nil || save.Wait() != nil {
		t.Fatalf("through a pipe: %v", err)
	}
	if !slices.Equal(piped.all(), r.all()) {
		t.Errorf("through a pipe: got %+v, want %+v", piped.all(), r.all())
	}
	return codes
}
