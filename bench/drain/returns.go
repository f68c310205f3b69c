// SPDX-License-Identifier: MIT

package main

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/bench/internal/report"
)

func (b *bench) returns() (*report.Section, error) {
	many, few := b.stops/2, max(1, b.stops/20)
	least, most := time.Second, 2*time.Second
	if b.short {
		least, most = 100*time.Millisecond, 300*time.Millisecond
	}
	var mu sync.Mutex
	r := report.Results{}
	request := func(p *process) (time.Duration, error) { return afterResponse(p, least+rand.N(most-least)) }
	for _, m := range []struct {
		what  string
		stops int
		job   job
		f     func(*process) (time.Duration, error)
	}{
		{"request", many, job{Grace: most + time.Second}, request},
		{"silent", few, job{Grace: 10 * time.Second}, withSilent},
		{"HTTP/2", few, job{Grace: 10 * time.Second, TLS: true}, withIdle},
	} {
		err := atOnce(m.stops, func(name string) error {
			j := m.job
			j.Subject = name
			took, err := timeReturn(j, m.f)
			mu.Lock()
			defer mu.Unlock()
			if errors.Is(err, errKilled) {
				fmt.Fprintf(os.Stderr, "drain: %s: %v\n", name, err)
				r.Add(name, report.Figures{"killed": 1})
				return nil
			}
			r.Add(name, report.Figures{m.what: took.Seconds() * 1e3})
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.what, err)
		}
	}
	two := func(xs []float64) []string {
		return []string{report.Number(report.Quantile(xs, 0.5)), report.Number(report.Quantile(xs, 1))}
	}
	return &report.Section{
		Title: "Time until the stop is over",
		About: fmt.Sprintf(`Request: one takes from %v to %v; from its response's last byte, as the client sees it, to
			the return of what stops the server, as a pipe tells. %d stops. Killed: the signal ended the process. Silent: from SIGTERM to the return, with
			one connection on which nothing was ever sent. HTTP/2: the same, with one idle connection of Go's
			client. %d stops each. A stop may take %v with a request, else 10 s. In ms.`,
			least, most, many, few, most+time.Second),
		Head: []string{"stop by", "request, p50", "max", "silent, p50", "max", "HTTP/2, p50", "max", "killed"},
		Rows: r.Table(order, title, func(f map[string][]float64) []string {
			return slices.Concat(two(f["request"]), two(f["silent"]), two(f["HTTP/2"]), []string{report.Number(report.Sum(f["killed"]))})
		}),
	}, nil
}

// settle is for the subjects that ask for the signal in a goroutine of their
// own, and do not tell when: before that, the signal ends the process.
const settle = 200 * time.Millisecond

// timeReturn runs f with a server process.
func timeReturn(j job, f func(*process) (time.Duration, error)) (time.Duration, error) {
	p, err := start(j)
	if err != nil {
		return 0, err
	}
	defer p.kill()
	time.Sleep(settle)
	return f(p)
}

// afterResponse stops p during a request, and counts from the response.
func afterResponse(p *process, length time.Duration) (time.Duration, error) {
	resp, err := newClient(p.addr).Get("http://backend/?slow=" + length.String())
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if err := p.stop(); err != nil {
		return 0, err
	}
	text, err := io.ReadAll(resp.Body)
	from := time.Now()
	if err := p.wait(); err != nil {
		return 0, err
	}
	if string(text) != answer {
		return 0, fmt.Errorf("the response in flight is %q, error %v", text, err)
	}
	return p.returned.Sub(from), nil
}

// withSilent stops p while it has a connection on which nothing was sent.
func withSilent(p *process) (time.Duration, error) {
	silent, err := net.Dial("tcp", p.addr)
	if err != nil {
		return 0, err
	}
	defer silent.Close()

	// Connections are accepted in their order: who is served tells that the
	// one before was accepted.
	next := &keepAlive{backends: []string{p.addr}}
	_, err = next.do(http.MethodGet)
	next.close()
	if err != nil {
		return 0, err
	}
	return fromSignal(p)
}

// withIdle stops p while it has an idle HTTP/2 connection.
func withIdle(p *process) (time.Duration, error) {
	client := newClient(p.addr)
	defer client.CloseIdleConnections()
	resp, err := client.Get("https://backend/")
	if err != nil {
		return 0, err
	}
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return 0, err
	}
	resp.Body.Close()
	return fromSignal(p)
}

func fromSignal(p *process) (time.Duration, error) {
	from := time.Now()
	if err := p.stop(); err != nil {
		return 0, err
	}
	err := p.wait()
	return p.returned.Sub(from), err
}
