// SPDX-License-Identifier: MIT

package pid1

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/inspect"
	"github.com/entrypoint-go/entrypoint/internal/sig"
)

// IsInit reports whether this process is PID 1 of its PID namespace, as the
// ENTRYPOINT of a container is. PID 1 gets orphans as children, and no signal has
// its default action there. (Go's runtime has a handler for most, and exits with 2
// after a SIGTERM that nobody asked for.)
func IsInit() bool { return os.Getpid() == 1 }

// Environment is what [Inspect] found out. A field that could not be read has
// its zero value, and Unknown names it.
type Environment struct {
	PID    int
	Parent int  // PID of the parent; 0: outside of this PID namespace, as after docker exec
	Init   bool // this process is PID 1

	// InitName is the name of PID 1: tini, docker-init, catatonit, dumb-init,
	// pause, systemd, sh; this program's own if Init. InitArgs is its command line.
	InitName string
	InitArgs []string

	// One of these is true when PID 1 is a shell that started this process and
	// has no handler for SIGTERM: a stop signal to the container never arrives
	// here. ShellForm: it runs sh -c, as the shell form of ENTRYPOINT and CMD
	// does. ShellScript: it runs a script that did not use exec.
	ShellForm   bool
	ShellScript bool

	// Runtime is the container runtime: docker, podman, buildah, containerd,
	// cri-o, lxc, or the value of $container. "": none recognised.
	Runtime string

	// GVisor: the kernel is gVisor's. Older ones have no pidfds.
	GVisor bool

	// Orchestrator is what restarts and stops this process: kubernetes, nomad,
	// ecs, cloud-run, fly or systemd. "": none recognised. Docker Swarm and
	// Compose leave no trace in a container.
	Orchestrator string

	// Subreaper: this process is one. It adopts orphaned descendants, and has to
	// reap them. The attribute survives execve.
	Subreaper bool

	// Ignored and Blocked are the signals that this process ignores and that its
	// main thread blocks, now; child processes inherit both. At its start Go
	// unblocks SIGHUP, SIGINT, SIGQUIT and SIGTERM, and ends the ignoring of all
	// signals but SIGHUP, SIGINT and those for job control.
	Ignored []os.Signal
	Blocked []os.Signal

	// Zombies are the dead processes that nobody has reaped, by parent, of this
	// PID namespace and those below.
	Zombies []Zombies

	// PidsMax is how many processes and threads the cgroup allows, or one of its
	// visible ancestors (pids.max). 0: no limit found.
	PidsMax int64

	// Unknown names what could not be read.
	Unknown []string
}

// Zombies are the dead children that a parent has not waited for.
type Zombies struct {
	Parent int    // PID
	Name   string // of the parent
	Count  int
	Ours   bool // the parent is this process: it alone can reap them
}

// Inspect finds out who is PID 1, and whether signals will arrive. It never
// fails, and it changes nothing. It reads the status of every process in /proc:
// call it for a diagnosis, not for every request. Off Linux it finds only what
// the environment variables say.
func Inspect() Environment {
	f := inspect.All()
	e := newEnvironment(f)
	e.Runtime, e.GVisor, e.Orchestrator = f.Runtime, f.GVisor, f.Orchestrator
	e.Subreaper, e.PidsMax, e.Unknown = f.Subreaper, f.PidsMax, f.Unknown
	e.Ignored, e.Blocked = f.Ignored.Signals(), f.Blocked.Signals()
	for _, z := range f.Zombies {
		e.Zombies = append(e.Zombies, Zombies{Parent: z.Parent, Name: z.Name, Count: z.Count, Ours: z.Parent == f.PID})
	}
	return e
}

// inspectInit is the part of Inspect that is worth the time at every start.
func inspectInit() Environment { return newEnvironment(inspect.Init()) }

// newEnvironment has the facts of inspect.Init.
func newEnvironment(f inspect.Facts) Environment {
	return Environment{
		PID:         f.PID,
		Parent:      f.Parent,
		Init:        IsInit(),
		InitName:    f.InitName,
		InitArgs:    f.InitArgs,
		ShellForm:   f.ShellForm,
		ShellScript: f.ShellScript,
	}
}

// Warning returns one line for the log that says what keeps a stop signal from
// arriving, and what to write in the Dockerfile instead. It quotes the command
// line of PID 1. It is "" when nothing is wrong.
func (e Environment) Warning() string {
	const longest = 200 // of a command line, to keep it one line
	line := strings.Join(e.InitArgs, " ")
	if runes := []rune(line); len(runes) > longest {
		line = string(runes[:longest]) + "…"
	}
	switch {
	case e.ShellForm:
		return fmt.Sprintf("PID 1 is %q, which does not forward SIGTERM; %s", line, inspect.ExecForm(e.InitArgs))
	case e.ShellScript:
		return fmt.Sprintf("PID 1 is the shell script %q, which does not forward SIGTERM; start this program with exec there, as in exec \"$@\"", line)
	}
	return ""
}

// String returns a table for people, one line a fact.
func (e Environment) String() string {
	var b strings.Builder
	row := func(name, value string) { fmt.Fprintf(&b, "%-13s %s\n", name, value) }

	row("process", e.process())
	row("PID 1", e.pid1())
	row("runtime", e.runtime())
	row("orchestrator", cmp.Or(e.Orchestrator, "none recognised"))
	row("subreaper", map[bool]string{true: "yes", false: "no"}[e.Subreaper])
	row("ignored", cmp.Or(strings.Join(signalList(e.Ignored), " "), "no signal"))
	row("blocked", cmp.Or(strings.Join(signalList(e.Blocked), " "), "no signal"))
	if len(e.Zombies) == 0 {
		row("zombies", "none")
	}
	for _, z := range e.Zombies {
		row("zombies", z.String())
	}
	row("pids.max", cmp.Or(e.pidsMax(), "no limit"))
	if len(e.Unknown) > 0 {
		row("unknown", strings.Join(e.Unknown, ", "))
	}
	if warning := e.Warning(); warning != "" {
		row("warning", warning)
	}
	return b.String()
}

func (e Environment) process() string {
	switch {
	case e.Init:
		return "PID 1"
	case e.Parent == 0:
		return fmt.Sprintf("PID %d, its parent outside of this PID namespace", e.PID)
	}
	return fmt.Sprintf("PID %d, child of %d", e.PID, e.Parent)
}

func (e Environment) pid1() string {
	name := cmp.Or(e.InitName, "unknown")
	switch {
	case e.Init:
		return name + ", this process"
	case e.ShellForm:
		return name + ", shell form"
	case e.ShellScript:
		return name + ", a script without exec"
	}
	return name
}

func (e Environment) runtime() string {
	name := cmp.Or(e.Runtime, "none recognised")
	if e.GVisor {
		name += ", on gVisor"
	}
	return name
}

func (e Environment) pidsMax() string {
	if e.PidsMax == 0 {
		return ""
	}
	return fmt.Sprint(e.PidsMax)
}

// String returns a line such as "3 of make (PID 7), which alone can reap them".
func (z Zombies) String() string {
	if z.Ours {
		return fmt.Sprintf("%d of this process", z.Count)
	}
	return fmt.Sprintf("%d of %s (PID %d), which alone can reap them", z.Count, cmp.Or(z.Name, "?"), z.Parent)
}

// LogValue returns the facts as a group of attributes, without those that are
// zero. The command line of PID 1, which may hold secrets, is only in the
// warning.
func (e Environment) LogValue() slog.Value {
	attrs := []slog.Attr{slog.Int("pid", e.PID), slog.Int("parent", e.Parent), slog.Bool("init", e.Init)}
	add := func(name string, set bool, value any) {
		if set {
			attrs = append(attrs, slog.Any(name, value))
		}
	}
	add("init_name", e.InitName != "", e.InitName)
	add("shell_form", e.ShellForm, true)
	add("shell_script", e.ShellScript, true)
	add("runtime", e.Runtime != "", e.Runtime)
	add("gvisor", e.GVisor, true)
	add("orchestrator", e.Orchestrator != "", e.Orchestrator)
	add("subreaper", e.Subreaper, true)
	add("ignored", len(e.Ignored) > 0, signalList(e.Ignored))
	add("blocked", len(e.Blocked) > 0, signalList(e.Blocked))
	add("zombies", e.zombies() > 0, e.zombies())
	add("pids_max", e.PidsMax > 0, e.PidsMax)
	add("unknown", len(e.Unknown) > 0, e.Unknown)
	add("warning", e.Warning() != "", e.Warning())
	return slog.GroupValue(attrs...)
}

func (e Environment) zombies() (sum int) {
	for _, z := range e.Zombies {
		sum += z.Count
	}
	return sum
}

func signalList(signals []os.Signal) (names []string) {
	for _, s := range signals {
		names = append(names, sig.Name(s))
	}
	return names
}

// probeTimeout is less than the 30 s of HEALTHCHECK, and more than a slow check.
const probeTimeout = 3 * time.Second

// Probe asks url once, by GET, and returns an error unless the status is from 200
// to 399 within 3 seconds. It is for HEALTHCHECK in an image that has no curl:
//
//	HEALTHCHECK CMD ["/service", "healthcheck"]
//
//	pid1.Exit(pid1.Probe("http://127.0.0.1:8080/readyz"))
//
// As in a probe of Kubernetes, certificates are not verified, redirects are not
// followed, and no proxy is used. The error has the first line of the body that
// follows "not ready", see [App.ReadyHandler]; its exit code is 1.
//
// Only programs that call Probe link the client side of net/http.
func Probe(url string) error {
	client := &http.Client{
		Timeout: probeTimeout,
		Transport: &http.Transport{
			DisableKeepAlives: true,
			TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // it asks itself
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	res, err := client.Get(url)
	if err != nil {
		return fmt.Errorf("pid1: Probe: %v", err) // not %w: a timeout would have an exit code of its own
	}
	defer res.Body.Close()
	if res.StatusCode >= 200 && res.StatusCode < 400 {
		return nil
	}
	reason := ""
	for lines := bufio.NewScanner(res.Body); lines.Scan(); {
		if reason = lines.Text(); reason != "not ready" {
			break
		}
	}
	return fmt.Errorf("pid1: Probe: GET %s: %s: %.200q", url, res.Status, reason)
}
