// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

func (b *bench) statuses() (*report.Section, error) {
	j := job{
		Workload: "statuses",
		Execs:    b.count(4000, 80),
		Workers:  4,
		Orphans:  b.count(500, 20),
	}
	order := append(inProcess, tini, dumbInit, catatonit)
	r, err := b.collect(order, j)
	if err != nil {
		return nil, err
	}
	percent := func(lost, of []float64) string {
		return fmt.Sprintf("%.2f %%", 100*report.Sum(lost)/report.Sum(of))
	}
	runs := j.Execs * b.rounds
	return &report.Section{
		Title: "Exit statuses lost, zombies left",
		About: fmt.Sprintf(`%d commands by exec.Cmd, %d at a time, beside %d orphans that die. A status is lost when Wait
			does not return the one that the command ended with. A quarter each: Run; Output; Wait called 5 ms late;
			killed by CommandContext. Under an init from outside the commands belong to another process than the
			orphans. Zombies: dead children that PID 1 still has 3 s after the last. Longest: one command at worst,
			all of them take a few milliseconds alone.`, runs, j.Workers, j.Orphans*b.rounds),
		Head: []string{"collector", "lost", "Run", "Output", "late Wait", "killed", "zombies left", "longest, ms"},
		Rows: r.Table(order, title, func(f map[string][]float64) []string {
			return []string{
				fmt.Sprintf("%.0f of %d", report.Sum(f["lost"]), runs),
				percent(f["run lost"], f["run"]), percent(f["output lost"], f["output"]),
				percent(f["late lost"], f["late"]), percent(f["killed lost"], f["killed"]),
				report.Number(report.Sum(f["zombies"])), report.Spread(f["longest ms"]),
			}
		}),
	}, nil
}

// errLost is returned for a status that is not the command's.
var errLost = errors.New("not the exit status of the command")

// The ways to run a command. Each knows how its command has to end.
var ways = []struct {
	name string
	run  func(*subject) error
}{
	{"run", func(s *subject) error {
		return want(s.run(exec.Command("/bin/sh", "-c", "exit 3")), 3)
	}},
	{"output", func(s *subject) error {
		cmd := exec.Command("/bin/sh", "-c", "echo x; exit 4")
		w, err := cmd.StdoutPipe()
		if err != nil {
			return err
		}
		defer w.Close()
		return want(s.run(cmd), 4)
	}},
	{"late", func(s *subject) error {
		if s.lock != nil {
			s.lock.RLock()
			defer s.lock.RUnlock()
		}
		cmd := exec.Command("/bin/sh", "-c", "exit 5")
		if err := cmd.Start(); err != nil {
			return err
		}
		time.Sleep(5 * time.Millisecond)
		return want(cmd.Wait(), 5)
	}},
	{"killed", func(s *subject) error {
		if s.lock != nil {
			s.lock.RLock()
			defer s.lock.RUnlock()
		}
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		cmd := exec.CommandContext(ctx, "/bin/sleep", "1000")
		if err := cmd.Start(); err != nil {
			return err
		}
		time.AfterFunc(3*time.Millisecond, cancel)
		return want(cmd.Wait(), -1)
	}},
}

// want checks how a command ended: its exit code, or -1 for SIGKILL.
func want(err error, code int) error {
	exit := (*exec.ExitError)(nil)
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		return fmt.Errorf("%w: %v", errLost, err)
	}
	if code == -1 && exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		return fmt.Errorf("%w: %v", errLost, err)
	}
	return nil
}

func countStatuses(s *subject, j job) (report.Figures, error) {
	var done, lost [4]atomic.Int64
	var longest atomic.Int64
	var work sync.WaitGroup
	next := make(chan int)
	for range j.Workers {
		work.Go(func() {
			for i := range next {
				way := i % len(ways)
				began := time.Now()
				err := ways[way].run(s)
				longest.Store(max(longest.Load(), int64(time.Since(began))))
				done[way].Add(1)
				if err != nil {
					lost[way].Add(1)
				}
			}
		})
	}

	// Every so often some orphans, by a shell that is started like any command.
	const batch = 10
	every := j.Execs * batch / j.Orphans
	for i := range j.Execs {
		if i%every == 0 {
			work.Go(func() { s.run(diers(batch)) })
		}
		next <- i
	}
	close(next)
	work.Wait()

	left, err := leftZombies(3 * time.Second)
	f := report.Figures{"zombies": float64(left), "longest ms": float64(longest.Load()) / 1e6}
	for i, way := range ways {
		f[way.name], f[way.name+" lost"] = float64(done[i].Load()), float64(lost[i].Load())
		f["lost"] += f[way.name+" lost"]
	}
	return f, err
}
