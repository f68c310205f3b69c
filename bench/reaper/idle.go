// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

func (b *bench) idle() (*report.Section, error) {
	j := job{Workload: "idle", Orphans: 100, Duration: 5 * time.Second}
	one := *b
	one.rounds = min(b.rounds, 3)
	if b.short {
		j.Duration = time.Second
	}
	order := append([]string{none}, collectors...)
	r, err := one.collectAtOnce(order, j)
	if err != nil {
		return nil, err
	}
	return &report.Section{
		Title: "Idle",
		About: fmt.Sprintf(`After %d orphans and 2 s of rest: voluntary context switches of all threads of PID 1 in %v,
			and its memory. The Go programs are this benchmark itself, so what they differ from the first line by is
			the collector's. %d rounds.`, j.Orphans, j.Duration, one.rounds),
		Head: []string{"collector", "wake-ups", "resident, MB", "of it anonymous, MB"},
		Rows: r.Table(order, title, func(f map[string][]float64) []string {
			return []string{report.Spread(f["switches"]), report.Spread(f["resident"]), report.Spread(f["anonymous"])}
		}),
	}, nil
}

// collectAtOnce is collect with all subjects at the same time, for those that
// do nothing.
func (b *bench) collectAtOnce(names []string, j job) (report.Results, error) {
	var mu sync.Mutex
	var failed error
	r := report.Results{}
	for range b.rounds {
		var all sync.WaitGroup
		for _, name := range names {
			if missing(name) {
				continue
			}
			all.Go(func() {
				j := j
				j.Subject = name
				f, err := runJob(j)
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					failed = fmt.Errorf("%s: %w", name, err)
					return
				}
				r.Add(name, f)
			})
		}
		all.Wait()
		if failed != nil {
			return nil, failed
		}
	}
	return r, nil
}

func watchIdle(_ *subject, j job) (report.Figures, error) {
	if err := diers(j.Orphans).Run(); err != nil {
		return nil, err
	}
	time.Sleep(2 * time.Second)
	before, err := switches(1)
	if err != nil {
		return nil, err
	}
	time.Sleep(j.Duration)
	after, err := switches(1)
	if err != nil {
		return nil, err
	}
	status, err := statusFields("/proc/1/status")
	return report.Figures{
		"switches":  after - before,
		"resident":  status["VmRSS"] / 1024,
		"anonymous": status["RssAnon"] / 1024,
	}, err
}

// switches counts the voluntary context switches of all threads of a process.
func switches(pid int) (total float64, err error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	if err != nil {
		return 0, err
	}
	for _, file := range files {
		status, err := statusFields(file)
		if err != nil {
			return 0, err
		}
		total += status["voluntary_ctxt_switches"]
	}
	return total, nil
}

// statusFields are the numbers in a status file of /proc; memory is in kB.
func statusFields(file string) (map[string]float64, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	fields := map[string]float64{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSuffix(strings.TrimSpace(value), " kB")
		if n, err := strconv.ParseFloat(value, 64); err == nil {
			fields[name] = n
		}
	}
	return fields, nil
}
