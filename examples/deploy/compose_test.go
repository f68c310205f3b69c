// SPDX-License-Identifier: MIT

package deploy

import (
	"strings"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

// load reads a file as docker compose does: schema, variables, and what it says
// about itself.
func load(t *testing.T, name, text string) (*types.Project, error) {
	t.Helper()
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  ".",
		ConfigFiles: []types.ConfigFile{{Filename: name, Content: []byte(text)}},
		Environment: types.Mapping{},
	}, func(o *loader.Options) { o.SetProjectName("deploy", false) })
}

func TestCompose(t *testing.T) {
	project, err := load(t, "compose.yaml", readFile(t, "compose.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, service := range project.Services {
		checkService(t, service)
		if service.Build == nil || !strings.HasSuffix(service.Build.Dockerfile, "examples/service/Dockerfile") {
			t.Errorf("%s is built from %v", name, service.Build)
		}
	}
	server := project.Services["service"]
	checkGrace(t, *server.Environment["SHUTDOWN_GRACE"], time.Duration(*server.StopGracePeriod))
	if got := server.DependsOn["migrate"].Condition; got != types.ServiceConditionCompletedSuccessfully {
		t.Errorf("the service waits until migrate is %q, want %q", got, types.ServiceConditionCompletedSuccessfully)
	}
}

func TestStack(t *testing.T) {
	project, err := load(t, "stack.yaml", readFile(t, "stack.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	server := project.Services["http"]
	checkService(t, server)
	checkGrace(t, *server.Environment["SHUTDOWN_GRACE"], time.Duration(*server.StopGracePeriod))
	if got := server.Deploy.UpdateConfig.Order; got != "start-first" {
		t.Errorf("updates are %q: want new tasks before old ones go", got)
	}
}

// checkService checks what every service has.
func checkService(t *testing.T, s types.ServiceConfig) {
	t.Helper()
	if !s.ReadOnly || len(s.CapDrop) != 1 || s.CapDrop[0] != "ALL" {
		t.Errorf("%s has more rights than it needs: read-only %t, drops %v", s.Name, s.ReadOnly, s.CapDrop)
	}
	if s.Init != nil && *s.Init {
		t.Errorf("%s has another init as PID 1", s.Name)
	}
}

func TestComposeStrict(t *testing.T) {
	text := readFile(t, "compose.yaml")
	for name, slip := range map[string][2]string{
		"misspelt":       {"stop_grace_period", "stop_grace_time"},
		"no duration":    {"stop_grace_period: 20s", "stop_grace_period: soon"},
		"no such volume": {"\nvolumes:\n  data:\n", "\n"},
		"no such job":    {"migrate: {condition", "migration: {condition"},
	} {
		broken := strings.Replace(text, slip[0], slip[1], 1)
		if broken == text {
			t.Fatalf("%s: %q is not there", name, slip[0])
		}
		if _, err := load(t, "compose.yaml", broken); err == nil {
			t.Errorf("%s: got no error", name)
		}
	}
}
