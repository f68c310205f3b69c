// SPDX-License-Identifier: MIT

package pid1

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/entrypoint-go/entrypoint/internal/linux"
)

// maxStatus bounds a line for the service manager. It drops a datagram of more
// than 4096 bytes as a whole (NOTIFY_BUFFER_MAX in systemd).
const maxStatus = 1000

const notifyVariable = "NOTIFY_SOCKET"

// maxChanges is how many changes wait for a service manager that does not read.
// Further ones are lost, and logged.
const maxChanges = 64

// A manager is the service manager that started this process, systemd for
// instance. It is told of changes of state by the protocol of sd_notify(3): each
// is a datagram to the socket that $NOTIFY_SOCKET names, an abstract one if that
// begins with "@". Without the variable nothing is done.
//
// A goroutine sends them, in order. So a manager that does not read, since it loads
// all its units again for instance, misses no change and holds nobody up.
type manager struct {
	app     *App
	socket  string
	changes chan string
}

func newManager(a *App) *manager {
	return &manager{a, os.Getenv(notifyVariable), make(chan string, maxChanges)}
}

// present reports whether there is a service manager.
func (m *manager) present() bool { return m.socket != "" }

// tell tells the service manager of a change.
func (m *manager) tell(assignments ...string) {
	if !m.present() {
		return
	}
	for i, assignment := range assignments {
		assignments[i] = oneLine(assignment)
	}
	select {
	case m.changes <- strings.Join(assignments, "\n") + "\n":
	default:
		m.lost(errors.New("too many changes wait"))
	}
}

func (m *manager) lost(err error) {
	m.app.log().Warn("the service manager was not notified: check $NOTIFY_SOCKET", "socket", m.socket, "error", err)
}

// listen sends what the service manager is told, and answers its watchdog, until the
// result is called. That waits for the last changes: for a tenth of a second if the
// service manager does not read, and longer on a starved machine.
func (m *manager) listen() (end func()) {
	if !m.present() {
		return func() {}
	}
	quit := make(chan struct{})
	c := goCall("systemd", func() error { m.send(quit); return nil }, nil)
	return func() {
		close(quit)
		c.endsWithin(m.app.atTheEnd(time.Second))
	}
}

// send sends changes until quit is closed, and then what is left of them.
func (m *manager) send(quit <-chan struct{}) {
	var pings <-chan time.Time
	if interval := watchdog(); interval > 0 {
		ticks := time.NewTicker(interval)
		defer ticks.Stop()
		pings = ticks.C
	}
	for {
		select {
		case change := <-m.changes:
			m.deliver(change, quit)
		case <-pings:
			// If its queue is full, a sign of life is in there.
			if err := m.datagram("WATCHDOG=1\n", time.Millisecond); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
				m.lost(err)
			}
		case <-quit:
			for len(m.changes) > 0 && m.deliver(<-m.changes, quit) {
			}
			return
		}
	}
}

// deliver tries to send a change for as long as the service manager does not read, or
// no descriptor is free, and a few times more after quit is closed. It reports whether
// it could.
func (m *manager) deliver(change string, quit <-chan struct{}) bool {
	const tries = 5
	for left := tries; ; {
		next := time.After(shortWait / tries)
		err := m.datagram(change, shortWait/tries)
		if err == nil {
			return true
		}
		select {
		case <-quit:
			left--
		default:
		}
		if left == 0 || !errors.Is(err, os.ErrDeadlineExceeded) && !linux.NoDescriptor(err) {
			m.lost(err)
			return false
		}
		<-next // there was no wait yet if no descriptor is free
	}
}

// datagram sends a message unless the service manager's queue is full for so long.
func (m *manager) datagram(message string, wait time.Duration) error {
	conn, err := net.Dial("unixgram", m.socket)
	if err != nil {
		return err
	}
	_ = conn.SetWriteDeadline(time.Now().Add(wait))
	_, err = io.WriteString(conn, message)
	return errors.Join(err, conn.Close())
}

// oneLine makes an assignment of an error's text: it may have several lines, empty
// ones too, and any length.
func oneLine(s string) string {
	lines := strings.FieldsFunc(s, func(r rune) bool { return r == '\n' })
	s = strings.Join(lines, "; ")
	if len(s) <= maxStatus {
		return s
	}
	end := maxStatus
	for !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// extendTimeout asks the service manager for as long as a stop may take. Its
// TimeoutStopSec may be less.
func extendTimeout(grace time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", grace.Microseconds())
}

// reloading and the READY=1 after it are what a Type=notify-reload service sends
// around a reload.
func (m *manager) reloading() {
	m.tell("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", linux.Monotonic().Microseconds()))
}

// watchdog returns the interval in which the service manager wants to hear from
// this process: half of $WATCHDOG_USEC (sd_watchdog_enabled(3)). Zero: not at all.
func watchdog() time.Duration {
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	pid := os.Getenv("WATCHDOG_PID")
	if err != nil || usec <= 0 || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond / 2
}
