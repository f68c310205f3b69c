// SPDX-License-Identifier: MIT

package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/template"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
	"github.com/entrypoint-go/entrypoint/bench/internal/tool"
)

// A cluster is that of kubectl's current context. All objects are in a namespace
// of their own.
type cluster struct {
	namespace string
	options
}

// The library needs no Delay of the user's here: it has one by default.
var clusterSubjects = []string{ours, none, plain, sleep}

// service is the only route in a cluster.
const service = "service"

func newCluster(o options) *cluster {
	return &cluster{fmt.Sprintf("rollout-%d", os.Getpid()), o}
}

//go:embed kubernetes.yaml
var manifests string

// manifest is all that a run deploys.
func (c *cluster) manifest() (string, error) {
	t, err := template.New("kubernetes.yaml").Parse(manifests)
	if err != nil {
		return "", err
	}
	var text bytes.Buffer
	err = t.Execute(&text, map[string]any{
		"Subjects": clusterSubjects, "Replicas": c.replicas, "Image": c.image, "Port": port,
	})
	return text.String(), err
}

func (c *cluster) measure(ctx context.Context, o options) (found map[string]outcome, err error) {
	text, err := c.manifest()
	if err != nil {
		return nil, err
	}
	if _, err := tool.Run("kubectl", "create", "namespace", c.namespace); err != nil {
		return nil, err
	}
	defer func() {
		_, removed := tool.Run("kubectl", "delete", "namespace", c.namespace)
		err = errors.Join(err, removed)
	}()
	apply := exec.Command("kubectl", "--namespace", c.namespace, "apply", "-f", "-")
	apply.Stdin = strings.NewReader(text)
	if _, err := tool.Output(apply); err != nil {
		return nil, err
	}
	for _, subject := range clusterSubjects {
		_, served := c.kubectl("rollout", "status", "deployment/"+subject, "--timeout=3m")
		_, loaded := c.kubectl("wait", "--for=jsonpath={.status.ready}=1", "job/load-"+subject, "--timeout=3m")
		if err := errors.Join(served, loaded); err != nil {
			return nil, err
		}
	}
	took, err := inRounds(ctx, o.updates, time.Second, clusterSubjects, c.update)
	if err != nil {
		return nil, err
	}
	found = map[string]outcome{}
	for _, subject := range clusterSubjects {
		load, err := c.finish(subject)
		if err != nil {
			return nil, err
		}
		found[subject] = outcome{Loads: map[string]tally{service: load}, Seconds: took[subject]}
	}
	return found, nil
}

func (c *cluster) kubectl(args ...string) (string, error) {
	return tool.Run("kubectl", append([]string{"--namespace", c.namespace}, args...)...)
}

// update returns when all pods are new ones and the old ones have ended.
func (c *cluster) update(ctx context.Context, subject string) error {
	old, err := c.pods(subject)
	if err != nil {
		return err
	}
	if _, err := c.kubectl("rollout", "restart", "deployment/"+subject); err != nil {
		return err
	}
	if _, err := c.kubectl("rollout", "status", "deployment/"+subject, "--timeout=3m"); err != nil {
		return err
	}
	for deadline := time.Now().Add(time.Minute); ; {
		pods, err := c.pods(subject)
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(pods, func(pod string) bool { return slices.Contains(old, pod) }) {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s: old pods are still there: %v of %v", subject, pods, old)
		}
		if err := wait(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
}

func (c *cluster) pods(subject string) ([]string, error) {
	names, err := c.kubectl("get", "pods", "--selector", "app="+subject, "--output", "name")
	return strings.Fields(names), err
}

// finish ends a load and returns what it has seen.
func (c *cluster) finish(subject string) (load tally, err error) {
	job := "job/load-" + subject
	if _, err := c.kubectl("exec", job, "--", "/rollout", "finish"); err != nil {
		return load, err
	}
	if _, err := c.kubectl("wait", "--for=condition=complete", job, "--timeout=1m"); err != nil {
		return load, err
	}
	log, err := c.kubectl("logs", job)
	if err != nil {
		return load, err
	}
	if err := json.Unmarshal([]byte(log), &load); err != nil {
		return load, fmt.Errorf("the log of %s is no tally: %w\n%s", job, err, log)
	}
	return load, nil
}

func (c *cluster) section(o options, found map[string]outcome) *report.Section {
	section := &report.Section{
		Title: "Requests failed in rolling updates, Kubernetes",
		About: fmt.Sprintf(`%d updates of %d replicas each by kubectl rollout restart, the new pod first, all servers at the
			same time, under about %d requests a second each, through a Service: by clients with a keep-alive connection, by clients
			that dial for each request, and by clients whose requests take %v; POST and GET in turn. The readiness probe asks every
			second. Failed: by what the client saw. An update lasts until the old pods have gone.`,
			len(found[ours].Seconds), o.replicas, requestRate, slowness),
		Head: []string{"server", "sent", "failed", "an update, s"},
	}
	for _, subject := range clusterSubjects {
		f := found[subject]
		load := f.Loads[service]
		section.Rows = append(section.Rows, []string{titles[subject], fmt.Sprint(load.Sent), load.String(), report.Spread(f.Seconds)})
	}
	return section
}
