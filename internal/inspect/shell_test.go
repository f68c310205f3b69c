// SPDX-License-Identifier: MIT

package inspect

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestShellRuns(t *testing.T) {
	tests := []struct {
		args         []string
		text, script string
	}{
		{nil, "", ""},
		{[]string{""}, "", ""},
		{[]string{"/app", "-c", "x"}, "", ""},
		{[]string{"tini", "--", "sh", "-c", "x"}, "", ""},
		{[]string{"/bin/sh"}, "", ""},
		{[]string{"-bash"}, "", ""},
		{[]string{"-bash", "-c", "app"}, "app", ""},
		{[]string{"/bin/sh", "-c"}, "", ""},
		{[]string{"/bin/sh", "-c", "app arg"}, "app arg", ""},
		{[]string{"sh", "-c", "app", "$0", "$1"}, "app", ""},
		{[]string{"/bin/bash", "-euxo", "pipefail", "-c", "app"}, "app", ""},
		{[]string{"/bin/bash", "-o", "pipefail", "-c", "app"}, "app", ""},
		{[]string{"/bin/bash", "+o", "posix", "-c", "app"}, "app", ""},
		{[]string{"bash", "-ceo", "pipefail", "app"}, "app", ""},
		{[]string{"bash", "--norc", "-lc", "app"}, "app", ""},
		{[]string{"bash", "--login", "start.sh"}, "", "start.sh"},
		{[]string{"sh", "-c", "--", "app"}, "app", ""},
		{[]string{"sh", "-c", "-e", "app"}, "app", ""},
		{[]string{"sh", "-e", "/start.sh", "-c", "x"}, "", "/start.sh"},
		{[]string{"sh", "-", "/start.sh"}, "", "/start.sh"},
		{[]string{"/bin/busybox", "sh", "-c", "app"}, "app", ""},
		{[]string{"busybox", "httpd"}, "", ""},
		{[]string{"/bin/ash", "/start.sh"}, "", "/start.sh"},
	}
	for _, tt := range tests {
		if text, script := ShellRuns(tt.args); text != tt.text || script != tt.script {
			t.Errorf("%q: got %q, %q; want %q, %q", tt.args, text, script, tt.text, tt.script)
		}
	}
}

func TestExecForm(t *testing.T) {
	const put = "put exec before the last command"
	tests := []struct{ text, want string }{
		{"/app", `write ENTRYPOINT ["/app"] (exec form)`},
		{"  /app\t-v ", `write ENTRYPOINT ["/app", "-v"] (exec form)`},
		{`app --q='a & b'`, `write ENTRYPOINT ["app", "--q=a & b"] (exec form)`},
		{`app "c\d"`, `write ENTRYPOINT ["/bin/sh", "-c", "exec app \"c\\d\""]`},
		{`app --q='a b' "<c>"`, `write ENTRYPOINT ["app", "--q=a b", "<c>"] (exec form)`},
		{"app é", `write ENTRYPOINT ["app", "é"] (exec form)`},
		{"app $X", `write ENTRYPOINT ["/bin/sh", "-c", "exec app $X"]`},
		{"app *.conf", `write ENTRYPOINT ["/bin/sh", "-c", "exec app *.conf"]`},
		{"app >/log", `write ENTRYPOINT ["/bin/sh", "-c", "exec app >/log"]`},
		{"app $(hostname)", put},
		{"app 2>&1", put},
		{"A=1 app", put},
		{"a; b", put},
		{"a && b", put},
		{"a | b", put},
		{"a\nb", put},
		{"exec app", put},
		{"if true", put},
		{"! app", put},
		{"", put},
	}
	for _, tt := range tests {
		if got := ExecForm([]string{"/bin/sh", "-c", tt.text}); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%q: got %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestExecFormShell(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"/bin/busybox", "sh", "-c", "app $X"}, `["sh", "-c", "exec app $X"]`},
		{[]string{"-bash", "-ec", "app $X"}, `["bash", "-c", "exec app $X"]`},
		{nil, `["program", "argument"]`},
	}
	for _, tt := range tests {
		if got := ExecForm(tt.args); !strings.Contains(got, "ENTRYPOINT "+tt.want) {
			t.Errorf("%q: got %s, want %s", tt.args, got, tt.want)
		}
	}
}

// What we take for plain is split as a real shell does.
func TestSplitPlainLikeShell(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip(err)
	}
	pieces := []string{"a", "-b", "c=d", "e,f", "%", "^", "=", "@", ":", "/", "'", `"`, "'g h'", `"i j"`, "''", `""`, " ", "\t", "  ", "é", "]", "\\", "$x", "~", "#", "*", ";"}
	random := rand.New(rand.NewPCG(1, 2))
	var script strings.Builder
	var want [][]string
	for range 20000 {
		text := "a"
		for range random.IntN(12) {
			text += pieces[random.IntN(len(pieces))]
		}
		if words, ok := SplitPlain(text); ok {
			fmt.Fprintf(&script, "printf '%%s\\0' %s; printf '\\1\\0'\n", text)
			want = append(want, words)
		}
	}

	cmd := exec.Command(sh)
	cmd.Stdin = strings.NewReader(script.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(out, []byte("\x01\x00"))
	if len(want) < 1000 || len(lines) != len(want)+1 {
		t.Fatalf("got %d answers to %d texts, want 1000 or more", len(lines)-1, len(want))
	}
	for i, words := range want {
		if got := strings.Join(words, "\x00") + "\x00"; got != string(lines[i]) {
			t.Errorf("got %q, the shell %q", got, lines[i])
		}
	}
}

func FuzzShell(f *testing.F) {
	f.Add("/bin/sh\x00-c\x00/app --port 8080")
	f.Add("bash\x00-eo\x00pipefail\x00-c\x00app 'a b' \"c\" && d")
	f.Add("/bin/sh\x00/start.sh")
	f.Fuzz(func(t *testing.T, cmdline string) {
		args := strings.Split(cmdline, "\x00")
		text, script := ShellRuns(args)
		if text != "" && script != "" || text+script != "" && !slices.Contains(args, text+script) {
			t.Errorf("%q: got %q, %q", args, text, script)
		}

		// The advice is one line, and JSON where it is a command.
		advice := ExecForm([]string{"/bin/sh", "-c", text})
		if strings.ContainsAny(advice, "\n\r") {
			t.Errorf("%q: more than one line", advice)
		}
		_, form, _ := strings.Cut(advice, "ENTRYPOINT ")
		var words []string
		if err := json.Unmarshal([]byte(strings.TrimSuffix(form, " (exec form)")), &words); err != nil || len(words) == 0 {
			t.Errorf("%q: %v", advice, err)
		}
	})
}
