// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

// longGrace is for clients that take their time.
const longGrace = 10 * time.Second

// A setting is how the clients of one row behave.
type setting struct {
	pause  time.Duration // at most, between two requests
	starve bool          // something else keeps all processors busy
}

func (s setting) String() string {
	if s.starve {
		return fmt.Sprintf("%v, starved", s.pause)
	}
	return s.pause.String()
}

var settings = []setting{
	{2 * time.Millisecond, false}, {50 * time.Millisecond, false}, {500 * time.Millisecond, false}, {5 * time.Second, false},
	{2 * time.Millisecond, true}, {50 * time.Millisecond, true}, {500 * time.Millisecond, true},
}

// pauses measures what clients lose that use their connections more or less often.
func (b *bench) pauses() (*report.Section, error) {
	second, err := start(job{Subject: plain, Grace: longGrace})
	if err != nil {
		return nil, err
	}
	defer second.kill()
	stops, rows := max(b.stops/10, 2), [][]string{}
	for _, s := range settings {
		if b.short && s.pause > 100*time.Millisecond {
			continue
		}
		row := []string{s.String()}
		end := func() {}
		if s.starve {
			end = starve()
		}
		n := stops
		if s.pause > time.Second {
			n = max(stops/4, 1)
		}
		for _, name := range []string{ours, plain} {
			t := newTally()
			for range n {
				if err := t.stopAfterPauses(name, second.addr, s.pause); err != nil {
					end()
					return nil, err
				}
			}
			lost := t.count["POST lost"] + t.count["GET lost"]
			row = append(row, report.Number(lost), report.Number(t.count["POST"]+t.count["GET"]))
			fmt.Fprintf(os.Stderr, "drain: pauses of %v, %s: %v, why: %v\n", s, name, t.count, t.causes)
		}
		end()
		rows = append(rows, append(row, strconv.Itoa(n)))
	}
	return &report.Section{
		Title: "Requests lost in a stop, by the clients' pauses",
		About: fmt.Sprintf(`%d clients with a keep-alive connection each, as above, with pauses of up to the time given and
			a grace of %v. Each has made three requests or more when the server gets SIGTERM. Starved: four busy
			processes for each processor run beside clients and servers.`, clients, longGrace),
		Head: []string{"pauses up to", ours + ": lost", "requests", plain + ": lost", "requests", "stops"},
		Rows: rows,
	}, nil
}

// starve keeps all processors busy until the function that it returns is called.
func starve() (end func()) {
	var busy []*exec.Cmd
	for range 4 * runtime.NumCPU() {
		cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if cmd.Start() == nil {
			busy = append(busy, cmd)
		}
	}
	return func() {
		for _, cmd := range busy {
			cmd.Process.Kill()
			cmd.Wait()
		}
	}
}

func (t *tally) stopAfterPauses(name, second string, most time.Duration) error {
	first, err := start(job{Subject: name, Grace: longGrace})
	if err != nil {
		return err
	}
	defer first.kill()
	pid := strconv.Itoa(first.cmd.Process.Pid)
	var busy, warm sync.WaitGroup
	var stuck [clients]error
	for i := range clients {
		warm.Add(1)
		busy.Go(func() {
			k := &keepAlive{backends: []string{first.addr, second}}
			defer k.close()
			n := i
			send := func() string {
				n++
				time.Sleep(rand.N(most))
				return t.send(k, []string{http.MethodGet, http.MethodPost}[n%2])
			}
			for range 3 {
				send()
			}
			warm.Done()
			stuck[i] = untilElsewhereTimes(1, pid, send)
		})
	}
	warm.Wait()
	time.Sleep(rand.N(most))
	err = first.stop()
	busy.Wait()
	return errors.Join(append(stuck[:], err)...)
}
