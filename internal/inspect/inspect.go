// SPDX-License-Identifier: MIT

// Package inspect finds out, for a person who has a problem, where this process
// runs and why a program could not be started. It reads /proc, the command
// lines of shells, and the first bytes of programs and scripts.
package inspect

import (
	"os"
	"slices"

	"github.com/entrypoint-go/entrypoint/internal/sig"
)

// Facts are what could be read about this process and its surroundings. A fact
// that could not be read has its zero value, and Unknown names it.
type Facts struct {
	PID, Parent int

	InitName    string   // name of PID 1
	InitArgs    []string // its command line
	ShellForm   bool     // PID 1 is a shell that runs this process by sh -c
	ShellScript bool     // PID 1 is a shell that runs this process in a script

	Runtime      string // container runtime, such as docker
	GVisor       bool   // the kernel is gVisor's
	Orchestrator string // such as kubernetes

	Subreaper        bool
	Ignored, Blocked sig.Set // signals of this process and of its main thread
	Zombies          []Zombies
	PidsMax          int64 // 0: no limit

	Unknown []string
}

// Zombies are the dead children that a parent has not waited for.
type Zombies struct {
	Parent int
	Name   string // of the parent
	Count  int
}

// Init reads what is worth the time at every start, a handful of files: who PID 1
// is.
func Init() Facts {
	f := Facts{PID: os.Getpid(), Parent: os.Getppid()}
	f.readInit()
	return f
}

// All reads all facts, also the status of every process.
func All() Facts {
	f := Init()
	f.Orchestrator = orchestrator(os.LookupEnv)
	f.readRest()
	return f
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

// unknown records, once, what could not be read.
func (f *Facts) unknown(what string) {
	if !slices.Contains(f.Unknown, what) {
		f.Unknown = append(f.Unknown, what)
	}
}
