// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
	"github.com/entrypoint-go/entrypoint/bench/internal/tool"
)

// A swarm is one node: the kernel needs no IPVS, since the tasks are reached
// through HAProxy and Docker's DNS (endpoint mode dnsrr).
type swarm struct {
	name    string   // of all its objects, with suffixes
	proxy   string   // URL
	cleanup []func() // in reverse order
}

var swarmSubjects = []string{ours, delayed, none, plain, sleep}

func newSwarm() *swarm {
	return &swarm{name: fmt.Sprintf("rollout-%d", os.Getpid())}
}

// proxyLag is the time after which the proxy knows every new task, with time to
// spare. The next tasks are updated then.
const proxyLag = 3 * time.Second

func (s *swarm) measure(ctx context.Context, o options) (map[string]outcome, error) {
	defer func() {
		for _, f := range slices.Backward(s.cleanup) {
			f()
		}
	}()
	if err := s.join(); err != nil {
		return nil, err
	}
	if err := s.deploy(o); err != nil {
		return nil, err
	}
	if err := s.awaitServing(ctx); err != nil {
		return nil, err
	}

	loaded, stop := context.WithCancel(ctx)
	tallies := s.load(loaded)
	took, err := inRounds(ctx, o.updates, proxyLag, swarmSubjects, func(ctx context.Context, subject string) error {
		return s.update(ctx, s.service(subject), o.replicas)
	})
	stop()
	found := map[string]outcome{}
	for _, subject := range swarmSubjects {
		found[subject] = outcome{Loads: map[string]tally{}, Seconds: took[subject]}
		for _, route := range routes {
			found[subject].Loads[route] = <-tallies[subject+"-"+route]
		}
	}
	return found, err
}

// atEnd registers a docker command for the end. Its failure is told, since
// something is left behind.
func (s *swarm) atEnd(args ...string) {
	s.cleanup = append(s.cleanup, func() {
		// A network, for one, is in use for a while after its last container.
		var err error
		for range 50 {
			if _, err = tool.Docker(args...); err == nil {
				return
			}
			time.Sleep(200 * time.Millisecond)
		}
		fmt.Fprintln(os.Stderr, "rollout: left behind:", err)
	})
}

// join makes the engine a swarm, until the end, unless it is one.
func (s *swarm) join() error {
	state, err := tool.Docker("info", "--format", "{{.Swarm.LocalNodeState}}")
	if err != nil || state == "active" {
		return err
	}
	const bridge = "docker_gwbridge" // comes with the first swarm, and stays
	if _, err := tool.Docker("network", "inspect", bridge); err != nil {
		s.atEnd("network", "rm", bridge)
	}
	if _, err := tool.Docker("swarm", "init", "--advertise-addr", "127.0.0.1", "--task-history-limit", "1"); err != nil {
		return err
	}
	s.atEnd("swarm", "leave", "--force")
	return nil
}

// deploy starts all services and the proxy before them.
func (s *swarm) deploy(o options) error {
	image, proxy := s.name+":server", s.name+":proxy"
	if err := tool.BuildImage(image, self); err != nil {
		return err
	}
	s.atEnd("rmi", image)
	var config bytes.Buffer
	if err := proxyConfig.Execute(&config, map[string]any{"Backends": s.backends()}); err != nil {
		return err
	}
	if err := buildProxy(proxy, config.String()); err != nil {
		return err
	}
	s.atEnd("rmi", proxy)

	if _, err := tool.Docker("network", "create", "--driver", "overlay", "--attachable", s.name); err != nil {
		return err
	}
	s.atEnd("network", "rm", s.name)
	for _, subject := range swarmSubjects {
		if err := s.create(subject, image, o.replicas); err != nil {
			return err
		}
	}
	if _, err := tool.Docker("run", "--detach", "--name", s.name, "--network", s.name, "--publish", "127.0.0.1::8080",
		proxy, "-db", "-f", "/haproxy.cfg"); err != nil {
		return err
	}
	s.atEnd("rm", "--force", s.name)
	addr, err := tool.Docker("port", s.name, "8080/tcp")
	s.proxy = "http://" + strings.TrimSpace(addr)
	return err
}

func (s *swarm) backends() (all []backend) {
	for _, subject := range swarmSubjects {
		for _, route := range routes {
			all = append(all, backend{subject + "-" + route, s.service(subject), route == redispatch})
		}
	}
	return all
}

func (s *swarm) service(subject string) string { return s.name + "-" + subject }

// create starts a service. In an update an old task goes when its successor runs,
// one after the other.
func (s *swarm) create(subject, image string, replicas int) error {
	name := s.service(subject)
	_, err := tool.Docker("service", "create", "--detach", "--no-resolve-image", "--name", name, "--network", s.name,
		"--endpoint-mode", "dnsrr", "--replicas", fmt.Sprint(replicas), "--update-order", "start-first",
		"--update-parallelism", "1", "--update-delay", proxyLag.String(), "--update-monitor", "1s",
		"--read-only", "--cap-drop", "ALL", image, "serve", subject)
	if err != nil {
		return err
	}
	s.cleanup = append(s.cleanup, func() {
		s.awaitTasks(context.Background(), name, func(ids []string) bool { return len(ids) == 0 }, "--all")
	})
	s.atEnd("service", "rm", name)
	return nil
}

// awaitServing returns when every subject answers and the proxy knows all tasks.
func (s *swarm) awaitServing(ctx context.Context) error {
	for _, b := range s.backends() {
		probe := client{target{s.proxy, b.Name}, &http.Transport{DisableKeepAlives: true}}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
			kind := probe.request(0)
			if kind == "" {
				break
			}
			if time.Now().After(deadline) || ctx.Err() != nil {
				return fmt.Errorf("%s does not answer through the proxy: %s", b.Name, kind)
			}
		}
	}
	return wait(ctx, proxyLag)
}

// load sends requests to all backends until ctx ends.
func (s *swarm) load(ctx context.Context) map[string]chan tally {
	tallies := map[string]chan tally{}
	for _, b := range s.backends() {
		result := make(chan tally, 1)
		tallies[b.Name] = result
		go func() { result <- generate(ctx, target{s.proxy, b.Name}) }()
	}
	return tallies
}

// update returns when all tasks are new ones and the old ones have ended.
func (s *swarm) update(ctx context.Context, service string, replicas int) error {
	old, err := tasks(service)
	if err != nil {
		return err
	}
	if _, err := tool.Docker("service", "update", "--force", "--detach", "--no-resolve-image", service); err != nil {
		return err
	}
	return s.awaitTasks(ctx, service, func(ids []string) bool {
		return len(ids) == replicas && !slices.ContainsFunc(ids, func(id string) bool { return slices.Contains(old, id) })
	})
}

// awaitTasks returns when done says so of the containers of a service.
func (s *swarm) awaitTasks(ctx context.Context, service string, done func(ids []string) bool, flags ...string) error {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		ids, err := tasks(service, flags...)
		switch {
		case err != nil:
			return err
		case done(ids):
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("%s: the containers are %v after two minutes", service, ids)
		}
		if err := wait(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
}

func tasks(service string, flags ...string) ([]string, error) {
	ids, err := tool.Docker(append([]string{"ps", "--quiet", "--filter", "label=com.docker.swarm.service.name=" + service}, flags...)...)
	return strings.Fields(ids), err
}

func (s *swarm) section(o options, found map[string]outcome) *report.Section {
	section := &report.Section{
		Title: "Requests failed in rolling updates, Docker Swarm",
		About: fmt.Sprintf(`%d updates of %d replicas each, one by one, the new one first, all servers at the same time,
			under about %d requests a second each: by clients with a keep-alive connection, by clients that dial for each
			request, and by clients whose requests take %v; POST and GET in turn. They go through HAProxy, which learns from
			Docker's DNS and from a check every second that a task has gone, up to 3 s after SIGTERM. If a task refuses a
			connection, it tries the same task again (its default), or another one (option redispatch). Failed: by what the
			client saw, a number being an HTTP status; where no task can be reached, HAProxy answers 503, or hangs up (EOF) if
			it has tried a connection of earlier requests first. An update lasts until the old tasks have ended.`,
			len(found[ours].Seconds), o.replicas, 2*requestRate, slowness),
		Head: []string{"server", "sent", "failed, redispatch", "failed, default", "an update, s"},
	}
	for _, subject := range swarmSubjects {
		f := found[subject]
		section.Rows = append(section.Rows, []string{
			titles[subject],
			fmt.Sprint(f.Loads[redispatch].Sent + f.Loads[stubborn].Sent),
			f.Loads[redispatch].String(), f.Loads[stubborn].String(),
			report.Spread(f.Seconds),
		})
	}
	return section
}
