package pid1

import (
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
)

// IsInit reports whether this process is PID 1 of its PID namespace, as the
// ENTRYPOINT of a container is: the one that gets orphans as children, and for
// which the kernel drops every signal without a handler.
func IsInit() bool { return os.Getpid() == 1 }

// Environment is what [Inspect] found out. A field that could not be read has
// its zero value, and Unknown says so.
type Environment struct {
	PID    int
	Parent int  // PID of the parent; 0: outside of this PID namespace, as after docker exec
	Init   bool // this process is PID 1

	// InitName is the name of PID 1: tini, docker-init, catatonit, dumb-init,
	// pause, systemd, sh; this program's own if Init. InitArgs is its command line.
	InitName string
	InitArgs []string

	// PID 1 is a shell that started this process as a child and has no handler
	// for SIGTERM: a stop signal to the container never arrives here. ShellForm:
	// it runs sh -c, as the shell form of ENTRYPOINT and CMD does. ShellScript:
	// it runs a script that did not use exec.
	ShellForm   bool
	ShellScript bool

	// Runtime is the container runtime: docker, podman, buildah, containerd,
	// cri-o, lxc, or what $container says. "": none recognised.
	Runtime string

	// GVisor: the kernel is gVisor's, which lacks pidfds.
	GVisor bool

	// Orchestrator is what restarts and stops this process: kubernetes, nomad,
	// ecs, cloud-run, fly or systemd. "": none recognised. Docker Swarm and
	// Compose leave no trace in a container.
	Orchestrator string

	// Subreaper: this process was made one, by itself or by the program that it
	// has replaced. It adopts orphaned descendants and has to reap them.
	Subreaper bool

	// Ignored and Blocked are the signals that this process ignores and that its
	// main thread blocks, now; child processes inherit both. Go's runtime ends
	// the blocking of SIGHUP, SIGINT, SIGQUIT and SIGTERM at its start, and the
	// ignoring of all but SIGHUP, SIGINT and those for job control.
	Ignored []os.Signal
	Blocked []os.Signal

	// Zombies that are left unreaped, by parent. PID namespaces above are not seen.
	Zombies []Zombies

	// PidsMax is how many processes and threads the cgroup and its visible
	// ancestors allow (pids.max). 0: no limit found.
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

// Inspect looks around: who is PID 1, and will signals arrive? It never fails,
// and it changes nothing. It reads the status of every process in /proc: call
// it for a diagnosis, not for every request. Off Linux it finds only what the
// environment variables tell.
func Inspect() Environment {
	e := inspectInit()
	e.Orchestrator = orchestrator(os.LookupEnv)
	e.inspectRest()
	return e
}

// inspectInit is the part of Inspect that is worth a start's time: four files.
func inspectInit() Environment {
	e := Environment{PID: os.Getpid(), Parent: os.Getppid(), Init: IsInit()}
	e.readInit()
	return e
}

// orchestrators are known by a variable that each sets in all it starts.
var orchestrators = []struct{ variable, name string }{
	{"KUBERNETES_SERVICE_HOST", "kubernetes"}, // also without enableServiceLinks
	{"NOMAD_ALLOC_ID", "nomad"},               // Nomad: Runtime Environment Settings
	{"ECS_CONTAINER_METADATA_URI_V4", "ecs"},  // Amazon ECS: task metadata endpoint, agent ≥ 1.39
	{"ECS_CONTAINER_METADATA_URI", "ecs"},     // and before
	{"K_REVISION", "cloud-run"},               // Cloud Run: container runtime contract
	{"CLOUD_RUN_EXECUTION", "cloud-run"},      // its jobs
	{"FLY_MACHINE_ID", "fly"},                 // Fly.io: the runtime environment
	{"INVOCATION_ID", "systemd"},              // systemd.exec(5)
	{"NOTIFY_SOCKET", "systemd"},              // sd_notify(3); also podman's --sdnotify
}

func orchestrator(lookup func(string) (string, bool)) string {
	for _, o := range orchestrators {
		if value, ok := lookup(o.variable); ok && value != "" {
			return o.name
		}
	}
	return ""
}

// Warning says, in one line for the log, what keeps a stop signal from arriving
// and what to write in the Dockerfile instead. It quotes the command line of
// PID 1. It is "" when all is well.
func (e Environment) Warning() string {
	const longest = 200 // of a command line, to keep it one line
	line := strings.Join(e.InitArgs, " ")
	if runes := []rune(line); len(runes) > longest {
		line = string(runes[:longest]) + "…"
	}
	switch {
	case e.ShellForm:
		return fmt.Sprintf("PID 1 is %q, which does not forward SIGTERM; %s", line, execForm(e.InitArgs))
	case e.ShellScript:
		return fmt.Sprintf("PID 1 is the shell script %q, which does not forward SIGTERM; start this program with exec there, as in exec \"$@\"", line)
	}
	return ""
}

// String is a table for people, a line for each fact.
func (e Environment) String() string {
	var b strings.Builder
	row := func(name, value string) { fmt.Fprintf(&b, "%-13s %s\n", name, value) }

	row("process", e.process())
	row("PID 1", e.pid1())
	row("runtime", e.runtime())
	row("orchestrator", or(e.Orchestrator, "none recognised"))
	row("subreaper", map[bool]string{true: "yes", false: "no"}[e.Subreaper])
	row("ignored", or(strings.Join(signalList(e.Ignored), " "), "no signal"))
	row("blocked", or(strings.Join(signalList(e.Blocked), " "), "no signal"))
	if len(e.Zombies) == 0 {
		row("zombies", "none")
	}
	for _, z := range e.Zombies {
		row("zombies", z.String())
	}
	row("pids.max", or(e.pidsMax(), "no limit"))
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
	name := or(e.InitName, "unknown")
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
	name := or(e.Runtime, "none recognised")
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

// String is such as "3 of make (PID 7), which has to reap them".
func (z Zombies) String() string {
	if z.Ours {
		return fmt.Sprintf("%d of this process", z.Count)
	}
	return fmt.Sprintf("%d of %s (PID %d), which alone can reap them", z.Count, or(z.Name, "?"), z.Parent)
}

// LogValue is the same for machines, without what is zero. The command line of
// PID 1 is in it only as part of the warning: it may hold secrets.
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

// unknown records, once, that what could not be read.
func (e *Environment) unknown(what string) {
	if !slices.Contains(e.Unknown, what) {
		e.Unknown = append(e.Unknown, what)
	}
}

func signalList(signals []os.Signal) (names []string) {
	for _, sig := range signals {
		names = append(names, signalName(sig))
	}
	return names
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
