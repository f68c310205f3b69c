// SPDX-License-Identifier: MIT

package main

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

// idle measures how long a stop takes with idle connections.
func (b *bench) idle() (*report.Section, error) {
	rounds, rows := max(b.stops/40, 1), [][]string{}
	for _, n := range []int{100, 1000, 9000} {
		if b.short && n > 100 {
			continue
		}
		r := report.Results{}
		for i := range rounds {
			for j := range 2 {
				name := []string{ours, plain}[(i+j)%2]
				took, err := stopIdle(name, n)
				if err != nil {
					return nil, fmt.Errorf("%d connections, %s: %w", n, name, err)
				}
				r.Add(name, report.Figures{"ms": took.Seconds() * 1e3})
			}
		}
		row := []string{strconv.Itoa(n)}
		for _, name := range []string{ours, plain} {
			for _, q := range []float64{0.5, 1} {
				row = append(row, report.Number(report.Quantile(r[name]["ms"], q)))
			}
		}
		rows = append(rows, append(row, strconv.Itoa(rounds)))
	}
	return &report.Section{
		Title: "Time to stop with idle connections",
		About: fmt.Sprintf(`Each connection has carried one request, the last of them %v before. From SIGTERM to the return of what stops
			the server, as a pipe tells, in ms.`, restTime),
		Head: []string{"connections", ours + ", p50", "max", plain + ", p50", "max", "stops"},
		Rows: rows,
	}, nil
}

// restTime is long enough for a connection to be no longer one that was just used.
const restTime = 500 * time.Millisecond

func stopIdle(name string, n int) (time.Duration, error) {
	p, err := start(job{Subject: name, Grace: longGrace})
	if err != nil {
		return 0, err
	}
	defer p.kill()
	for range n {
		k := &keepAlive{backends: []string{p.addr}}
		defer k.close()
		if _, err := k.do(http.MethodGet); err != nil {
			return 0, err
		}
	}
	time.Sleep(restTime)
	return fromSignal(p)
}
