// SPDX-License-Identifier: MIT

package shutdown

import (
	"bytes"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// labelKey is the profiler label of a hook's goroutines. Goroutines inherit
// labels from the one that starts them. The value is the task's path, a space,
// and the name, for people who read a profile.
const labelKey = "shutdown"

const packagePath = "github.com/entrypoint-go/entrypoint/shutdown"

// panicStack is the stack of the goroutine that panics, from the panic on:
// without the frames that recovered it.
func panicStack() []byte {
	stack := debug.Stack()
	header, frames, _ := bytes.Cut(stack, []byte("\n"))
	if i := bytes.Index(frames, []byte("\npanic(")); i >= 0 {
		return slices.Concat(header, frames[i:])
	}
	return stack
}

// A traceback of all goroutines stops the world. It takes 1.5 µs for a goroutine
// and 0.5 µs for each of its frames, up to 100 of them; goroutines of servers take
// 5 to 10 µs. These are the first guess, the most that is believed (what is more
// went to other processes), and the most that all tracebacks of a shutdown may take.
const (
	guessPerGoroutine = 10 * time.Microsecond
	maxPerGoroutine   = time.Millisecond
	maxStackTime      = 100 * time.Millisecond
)

// stacks finds the stacks of tasks, as long as there is time for it.
type stacks struct {
	mu           sync.Mutex // guards the rest
	left         time.Duration
	perGoroutine time.Duration // as last measured
	last         *dump         // nil before the first
}

func newStacks(left time.Duration) *stacks {
	return &stacks{left: left, perGoroutine: guessPerGoroutine}
}

// find returns the stacks of the goroutines of the tasks with these paths, or says
// why it cannot. They are as they were after since: tasks that are given up on at
// the same time share a traceback.
func (s *stacks) find(paths []string, since time.Time) []byte {
	if paths[0] == "" {
		return []byte("none: its goroutine has not run yet\n")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == nil || s.last.taken.Before(since) {
		all, err := s.tracebackLocked()
		if err != nil {
			return []byte(err.Error() + "\n")
		}
		s.last = newDump(string(all))
	}
	return s.last.find(paths)
}

// tracebackLocked returns the traceback of all goroutines. It may be cut off.
func (s *stacks) tracebackLocked() ([]byte, error) {
	for perGoroutine := 1 << 10; ; perGoroutine *= 4 {
		n := runtime.NumGoroutine()
		if estimate := times(s.perGoroutine, n); estimate > s.left {
			return nil, fmt.Errorf("left out: to list the %d goroutines of the process would stop it for about %s", n, short(estimate))
		}
		buf := make([]byte, 64<<10+n*perGoroutine)
		began := time.Now()
		// The world stops for it. A goroutine in a system call that the runtime does
		// not know of (syscall.RawSyscall) stops only if that returns.
		restore := linux.Interruptible()
		size := runtime.Stack(buf, true)
		restore()
		took := min(time.Since(began), times(maxPerGoroutine, n))
		s.left -= took
		s.perGoroutine = max(time.Microsecond, took/time.Duration(n))
		if size < len(buf) || perGoroutine > 4<<10 {
			return buf[:size], nil
		}
	}
}

// dump is a traceback of all goroutines.
type dump struct {
	taken    time.Time
	traces   []trace
	labelled []int            // the traces that have a path
	byNumber map[string]int   // traces by the number of their goroutine
	children map[string][]int // traces by the number of the goroutine that started theirs
}

type trace struct {
	number, path string // path is "" where the runtime shows no labels
	text         string
}

func newDump(all string) *dump {
	d := &dump{taken: time.Now(), byNumber: map[string]int{}, children: map[string][]int{}}
	for _, text := range strings.Split(strings.TrimSpace(all), "\n\n") {
		number, parent, path := parseTrace(text)
		i := len(d.traces)
		d.byNumber[number] = i
		d.children[parent] = append(d.children[parent], i)
		if path != "" {
			d.labelled = append(d.labelled, i)
		}
		d.traces = append(d.traces, trace{number, path, text})
	}
	return d
}

// find returns the stacks of the goroutines of tasks: of their first ones, of those
// that the runtime shows with their labels, and of all that descend from these. The
// first one of a connection may have ended before those that it has started.
func (d *dump) find(paths []string) []byte {
	ours := make([]bool, len(d.traces))
	var add func(i int)
	add = func(i int) {
		if ours[i] {
			return
		}
		ours[i] = true
		for _, child := range d.children[d.traces[i].number] {
			add(child)
		}
	}
	// A step may wait for thousands of requests, in a process with as many goroutines:
	// so nothing here looks at all traces for each path.
	wanted := map[string]bool{}
	for _, path := range paths {
		wanted[path] = true
		first := path[strings.LastIndexByte(path, '/')+1:]
		for _, child := range d.children[first] {
			add(child)
		}
		if i, ok := d.byNumber[first]; ok {
			add(i)
		}
	}
	for _, i := range d.labelled {
		for path := d.traces[i].path; path != ""; path = path[:max(0, strings.LastIndexByte(path, '/'))] {
			if wanted[path] {
				add(i)
			}
		}
	}
	return d.text(ours)
}

// maxStack bounds the stacks of one task: they go into a log record.
const maxStack = 64 << 10

func (d *dump) text(ours []bool) []byte {
	var out bytes.Buffer
	more := 0
	for i, t := range d.traces {
		switch {
		case !ours[i]:
		case out.Len() > maxStack:
			more++
		default:
			// Without the frames of this package that called the hook.
			text, _, _ := strings.Cut(t.text, "\n"+packagePath+".(*task).call(")
			if out.Len() > 0 {
				out.WriteByte('\n')
			}
			out.WriteString(text)
			out.WriteByte('\n')
		}
	}
	if more > 0 {
		fmt.Fprintf(&out, "\n… and %d goroutines more\n", more)
	}
	return out.Bytes()
}

// stacks appends those of the members and of s to all, each once: an error may be
// that of a member.
func (s Step) stacks(all []byte) []byte {
	for _, m := range s.Members {
		all = m.stacks(all)
	}
	if e, ok := s.Err.(*HookError); ok && len(all) < maxStack && !bytes.Contains(all, e.Stack) {
		all = append(append(all, e.Stack...), '\n')
	}
	return all
}

// parseTrace reads from the traceback of a goroutine its number, the number of
// the one that started it, and the path in its label:
//
//	goroutine 35 [select, 2 minutes labels:{"shutdown": "34 kafka"}]:
//	…
//	created by example.com/kafka.(*Writer).Close in goroutine 34
//		/src/kafka/writer.go:81 +0x57
func parseTrace(text string) (number, parent, path string) {
	header, frames, _ := strings.Cut(text, "\n")
	header = strings.TrimPrefix(header, "goroutine ")
	number, header, _ = strings.Cut(header, " ")
	if _, label, ok := strings.Cut(header, `"`+labelKey+`": "`); ok {
		path, _, _ = strings.Cut(label, " ")
	}
	if i := strings.LastIndex(frames, " in goroutine "); i >= 0 {
		parent, _, _ = strings.Cut(frames[i+len(" in goroutine "):], "\n")
	}
	return number, parent, path
}
