// SPDX-License-Identifier: MIT

package pid1_test

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/entrypoint-go/entrypoint/pid1"
)

func TestWarning(t *testing.T) {
	shell := func(args ...string) pid1.Environment {
		return pid1.Environment{PID: 7, Parent: 1, InitName: "sh", InitArgs: args, ShellForm: true}
	}
	const put = `put exec before the last command, or write ENTRYPOINT ["program", "argument"] (exec form)`
	tests := []struct {
		env  pid1.Environment
		want string
	}{
		{pid1.Environment{}, ""},
		{pid1.Environment{PID: 1, Init: true, InitName: "app", InitArgs: []string{"/app"}}, ""},
		{pid1.Environment{PID: 7, Parent: 1, InitName: "tini", InitArgs: []string{"tini", "--", "/app"}}, ""},
		{
			shell("/bin/sh", "-c", "/app --port 8080"),
			`PID 1 is "/bin/sh -c /app --port 8080", which does not forward SIGTERM; write ENTRYPOINT ["/app", "--port", "8080"] (exec form)`,
		},
		{
			shell("/bin/sh", "-c", `/app --name "a b" --tag 'x"y' "" <none>`),
			`PID 1 is "/bin/sh -c /app --name \"a b\" --tag 'x\"y' \"\" <none>", which does not forward SIGTERM; write ENTRYPOINT ["/bin/sh", "-c", "exec /app --name \"a b\" --tag 'x\"y' \"\" <none>"]`,
		},
		{
			shell("/bin/bash", "-ec", " /app --port $PORT "),
			`PID 1 is "/bin/bash -ec  /app --port $PORT ", which does not forward SIGTERM; write ENTRYPOINT ["/bin/bash", "-c", "exec /app --port $PORT"]`,
		},
		{
			shell("sh", "-c", "cd /srv && ./app"),
			`PID 1 is "sh -c cd /srv && ./app", which does not forward SIGTERM; ` + put,
		},
		{
			shell("sh", "-c", strings.Repeat("é", 300)+"\n;"),
			`PID 1 is "sh -c ` + strings.Repeat("é", 194) + `…", which does not forward SIGTERM; ` + put,
		},
		{
			pid1.Environment{PID: 7, Parent: 1, InitArgs: []string{"/bin/sh", "/start.sh", "serve"}, ShellScript: true},
			`PID 1 is the shell script "/bin/sh /start.sh serve", which does not forward SIGTERM; start this program with exec there, as in exec "$@"`,
		},
	}
	for _, tt := range tests {
		if got := tt.env.Warning(); got != tt.want {
			t.Errorf("%q:\n got %s\nwant %s", tt.env.InitArgs, got, tt.want)
		}
	}
}

var environments = []struct {
	env       pid1.Environment
	text, log string
}{
	{
		pid1.Environment{PID: 1, Init: true, InitName: "app", InitArgs: []string{"/app"}, Runtime: "docker"},
		`process       PID 1
PID 1         app, this process
runtime       docker
orchestrator  none recognised
subreaper     no
ignored       no signal
blocked       no signal
zombies       none
pids.max      no limit
`,
		`env.pid=1 env.parent=0 env.init=true env.init_name=app env.runtime=docker`,
	},
	{
		pid1.Environment{
			PID: 7, Parent: 1, InitName: "sh", InitArgs: []string{"sh", "-c", "app"}, ShellForm: true,
			Runtime: "containerd", GVisor: true, Orchestrator: "kubernetes", Subreaper: true,
			Ignored: []os.Signal{syscall.SIGHUP, syscall.SIGINT}, Blocked: []os.Signal{syscall.SIGTERM},
			Zombies: []pid1.Zombies{{Parent: 1, Name: "sh", Count: 3}, {Parent: 7, Count: 2, Ours: true}},
			PidsMax: 100, Unknown: []string{"a", "b"},
		},
		`process       PID 7, child of 1
PID 1         sh, shell form
runtime       containerd, on gVisor
orchestrator  kubernetes
subreaper     yes
ignored       SIGHUP SIGINT
blocked       SIGTERM
zombies       3 of sh (PID 1), which alone can reap them
zombies       2 of this process
pids.max      100
unknown       a, b
warning       PID 1 is "sh -c app", which does not forward SIGTERM; write ENTRYPOINT ["app"] (exec form)
`,
		`env.pid=7 env.parent=1 env.init=false env.init_name=sh env.shell_form=true env.runtime=containerd env.gvisor=true env.orchestrator=kubernetes env.subreaper=true env.ignored="[SIGHUP SIGINT]" env.blocked=[SIGTERM] env.zombies=5 env.pids_max=100 env.unknown="[a b]" ` +
			`env.warning="PID 1 is \"sh -c app\", which does not forward SIGTERM; write ENTRYPOINT [\"app\"] (exec form)"`,
	},
	{
		pid1.Environment{PID: 12, InitName: "sh", InitArgs: []string{"sh", "s3cret"}},
		`process       PID 12, its parent outside of this PID namespace
PID 1         sh
runtime       none recognised
orchestrator  none recognised
subreaper     no
ignored       no signal
blocked       no signal
zombies       none
pids.max      no limit
`,
		`env.pid=12 env.parent=0 env.init=false env.init_name=sh`,
	},
}

func TestEnvironmentString(t *testing.T) {
	for _, tt := range environments {
		if got := tt.env.String(); got != tt.text {
			t.Errorf("got:\n%swant:\n%s", got, tt.text)
		}
	}
}

func TestEnvironmentLogValue(t *testing.T) {
	for _, tt := range environments {
		var b bytes.Buffer
		slog.New(slog.NewTextHandler(&b, nil)).Info("x", "env", tt.env)
		if _, got, _ := strings.Cut(strings.TrimSpace(b.String()), "msg=x "); got != tt.log {
			t.Errorf("got:\n%s\nwant:\n%s", got, tt.log)
		}
	}
}

// Wherever the test runs: Inspect agrees with what os says.
func TestInspect(t *testing.T) {
	e := pid1.Inspect()
	if e.PID != os.Getpid() || e.Parent != os.Getppid() || e.Init != pid1.IsInit() {
		t.Errorf("got %+v", e)
	}
}
