package shutdown

import (
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// worldStops reports whether all goroutines can be stopped. One that is blocked in a
// system call which the runtime does not know of (syscall.RawSyscall) cannot: whoever
// stops the world then waits for that call, and so does everybody else.
func worldStops() bool { return !threadSleeps() || processorsAreFree() }

// threadSleeps reports whether a thread is in a system call other than those in which
// the runtime's own threads wait, and waitid, in which a reaper does.
func threadSleeps() bool {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return true
	}
	for _, thread := range threads {
		text, err := os.ReadFile("/proc/self/task/" + thread.Name() + "/syscall")
		if os.IsNotExist(err) {
			continue // it has ended
		}
		word, _, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
		if word == "running" {
			continue
		}
		number, err := strconv.Atoi(word)
		if err != nil {
			return true // it cannot be read
		}
		switch number {
		case -1, syscall.SYS_FUTEX, syscall.SYS_EPOLL_PWAIT, syscall.SYS_NANOSLEEP, syscall.SYS_WAITID:
		default:
			return true
		}
	}
	return false
}

// processorsAreFree reports whether as many goroutines as GOMAXPROCS allows run at the
// same time. Each counts, and this one must see all counters move ten times. If two
// shared a processor, one would stand still for 10 ms while the other moves, and ten
// times that is more than the patience. On a busy machine the answer may be no without
// reason.
func processorsAreFree() bool {
	counters := make([]atomic.Uint32, runtime.GOMAXPROCS(0)-1) // this one runs
	var stop atomic.Bool
	defer stop.Store(true)
	for i := range counters {
		go func() {
			for !stop.Load() {
				counters[i].Add(1)
			}
		}()
	}

	const patience = 50 * time.Millisecond
	looks := 20_000_000 // in a test's bubble the clock stands still
	began := time.Now()
	seen := make([]uint32, len(counters))
	for range 10 {
		for i := range counters {
			for counters[i].Load() == seen[i] {
				if looks--; looks < 0 || looks%1000 == 0 && time.Since(began) > patience {
					return false
				}
			}
			seen[i] = counters[i].Load()
		}
	}
	return time.Since(began) <= patience
}
