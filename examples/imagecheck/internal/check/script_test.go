// SPDX-License-Identifier: MIT

package check

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestReadScript(t *testing.T) {
	args := []string{"/app", "a b"}
	tests := []struct {
		text  string
		exec  bool
		words []string
		uses  bool // its arguments
	}{
		{"", false, nil, false},
		{"# nothing\n", false, nil, false},
		{"/srv -v\n", false, []string{"/srv", "-v"}, false},
		{"exec /srv -v\n", true, []string{"/srv", "-v"}, false},
		{"exec \"$@\"", true, args, true},
		{"exec \"${@}\"", true, args, true},
		{"exec /srv \"$@\" -x\n", true, []string{"/srv", "/app", "a b", "-x"}, true},
		{"exec /srv $OPTS\n", true, []string{"/srv", "$OPTS"}, false},
		{"exec $SRV\n", true, nil, false},
		{"exec 'a b' \"c\"\n", true, []string{"a b", "c"}, false},
		{"set -eu\nexec /srv; exit 1\n", true, []string{"/srv"}, false},
		{"exec /srv \\\n  -v\n", true, []string{"/srv", "-v"}, false},
		{"exec /srv\necho 'not reached' >&2\nexit 1\n", true, []string{"/srv"}, false},
		{"exec >/log 2>&1\n/srv\n", false, []string{"/srv"}, false},
		{"exec -a name /srv\n", true, []string{"/srv"}, false},
		{"exec /srv &\n", false, nil, false},
		{"exec /srv | tee log\n", false, nil, false},
		{"(exec /srv)\n", false, nil, false},
		{"{ echo; exec /srv; }\n", true, []string{"/srv"}, false},
		{"/srv &\nwait\n", false, []string{"wait"}, false},
		{"if a; then exec /x; else exec /y; fi\n", true, nil, false},
		{"if a; then exec /x; fi\nexec \"$@\"\n", true, args, true},
		{"if a; then /x; fi\n", false, nil, false},
		{"case $1 in a) exec /x;; *) exec \"$@\";; esac\n", true, nil, true},
		{"[ -x /x ] && exec /x\n", true, nil, false},
		{"main() { exec /srv \"$@\"; }\nmain \"$@\"\n", true, []string{"/srv", "/app", "a b"}, true},
		{"main() { exec /srv \"$1\"; }\nmain -v\n", true, []string{"/srv", `"$1"`}, true},
		{"main() { main; }\nmain\n", false, []string{"main"}, false},
		{"shift\nexec \"$@\"\n", true, nil, true},
		{"set -- /srv \"$@\"\nexec \"$@\"\n", true, nil, true},
		{"cat <<EOF\nexec /srv\nEOF\n", false, []string{"cat"}, false},
		{"[[ -n $X ]] && a=(1 2)\nexec /srv\n", true, []string{"/srv"}, false}, // bash under #!/bin/sh
	}
	for _, tt := range tests {
		got := shellOf("dash").readScript(tt.text, args, false)
		if !got.valid || got.exec != tt.exec || !slices.Equal(got.words, tt.words) || got.args != tt.uses {
			t.Errorf("%q: got %+v, want exec %v, %q, arguments used %v", tt.text, got, tt.exec, tt.words, tt.uses)
		}
	}
	if shellOf("sh").readScript("if (", nil, false).valid {
		t.Error("what cannot be parsed counts as valid")
	}
}

func TestTraps(t *testing.T) {
	for text, want := range map[string]bool{
		"trap 'kill $p' TERM; /srv & p=$!; wait $p": true,
		"trap stop INT SIGTERM":                     true,
		"trap 'rm x' 15":                            true,
		"trap 'rm x' EXIT":                          false,
		"trap '' TERM":                              false,
		"trap - TERM":                               false,
		"echo trap x TERM":                          false,
	} {
		if got := shellOf("sh").readScript(text, nil, false).traps; got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}

// What shells do with sh -c was measured with dash 0.5.12, bash 5.2 and busybox 1.35.
func TestImpliedExec(t *testing.T) {
	for _, tt := range []struct {
		text                string
		dash, bash, busybox bool
	}{
		{"/srv", false, true, true},
		{"true && /srv", false, true, true},
		{"true; /srv", false, true, true},
		{"A=1 /srv", false, true, true},
		{"/srv 2>/log", false, false, true},
		{"/srv &", false, false, false},
		{"/srv | cat", false, false, false},
		{"trap 'x' TERM; /srv", false, false, false},
	} {
		for name, want := range map[string]bool{"dash": tt.dash, "bash": tt.bash, "busybox": tt.busybox} {
			if got := shellOf(name).readScript(tt.text, nil, true); got.implied != want || got.exec != want {
				t.Errorf("%s -c %q: got %+v, want %v", name, tt.text, got, want)
			}
		}
	}
}

func TestWrappers(t *testing.T) {
	for line, want := range map[string]string{
		"tini -- /app":                         "/app",
		"tini -g -p SIGTERM -e 143 -- /app -v": "/app -v",
		"tini -vv /app":                        "/app",
		"dumb-init --rewrite 15:3 /app":        "/app",
		"dumb-init --single-child -- /app":     "/app",
		"env --unset=A --chdir / /app":         "/app",
		"dumb-init -r 15:3 /app":               "/app",
		"env A=1 B=2 /app":                     "/app",
		"env -u A /app":                        "/app",
		"gosu nobody /app -v":                  "/app -v",
		"nice -n 5 /app":                       "/app",
		"tini":                                 "",
		"tini --":                              "",
		"gosu nobody":                          "",
	} {
		words := strings.Fields(line)
		if got := strings.Join(wrappers[words[0]].program(words[1:]), " "); got != want {
			t.Errorf("%s: got %q, want %q", line, got, want)
		}
	}
}

func TestSignalOf(t *testing.T) {
	for text, want := range map[string]int{
		"SIGTERM": 15, "term": 15, "15": 15, "SIGQUIT": 3, "SIGRTMIN": 34, "RTMIN+3": 37, "SIGRTMAX-1": 63, "64": 64, "33": 33,
		"": 0, "0": 0, "-1": 0, "SIGFOO": 0, "SIGRTMIN+x": 0, "SIGRTMIN+31": 0, "99": 99,
	} {
		if _, got := signalOf(text); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
}

func TestExecForm(t *testing.T) {
	for text, want := range map[string]string{
		"['/app', '-v']": `write ENTRYPOINT ["/app", "-v"]: exec form is JSON`,
		"[ -x /app ]":    `write ENTRYPOINT ["/bin/sh", "-c"`,
		"/app":           `write ENTRYPOINT ["/app"]`,
	} {
		if got := execForm([]string{"/bin/sh", "-c", text}); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %s", text, got)
		}
	}
}

func TestSeverity(t *testing.T) {
	for s := Note; s <= Error; s++ {
		text, err := json.Marshal(s)
		var back Severity
		if err != nil || json.Unmarshal(text, &back) != nil || back != s {
			t.Errorf("%v: %s, %v, back %v", s, text, err, back)
		}
	}
	if err := json.Unmarshal([]byte(`"bad"`), new(Severity)); err == nil {
		t.Error("no error")
	}
}

// FuzzScript reads any text as a script; an exec that is found is in the text.
func FuzzScript(f *testing.F) {
	f.Add("dash", "#!/bin/sh\nset -eu\nexec /app \"$@\"\n", "a\x00b")
	f.Add("bash", "main() { exec -a x \"$@\"; }; main $* && trap x TERM", "")
	f.Add("busybox", "case $1 in a) exec b;; esac", "c")
	f.Fuzz(func(t *testing.T, name, text, args string) {
		for _, command := range []bool{false, true} {
			e := shellOf(name).readScript(text, strings.Split(args, "\x00"), command)
			if e.exec && !e.implied && !strings.Contains(strings.ReplaceAll(text, "\\\n", ""), "exec") {
				t.Errorf("%q: exec is not there", text)
			}
		}
		firstProgram(text)
		signalOf(text)
	})
}
