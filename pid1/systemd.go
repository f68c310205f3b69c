// SPDX-License-Identifier: MIT

package pid1

import (
	"errors"
	"fmt"
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

// notifies reports whether there is a service manager to notify.
func notifies() bool { return os.Getenv(notifyVariable) != "" }

// systemd reports a change of state to the service manager, by the protocol of
// sd_notify(3): one datagram to the socket that $NOTIFY_SOCKET names, an abstract
// one if that begins with "@". Without the variable, it does nothing.
func (a *App) systemd(assignments ...string) {
	socket := os.Getenv(notifyVariable)
	if socket == "" {
		return
	}
	for i, assignment := range assignments {
		assignments[i] = oneLine(assignment)
	}
	conn, err := net.Dial("unixgram", socket)
	if err == nil {
		// A manager that does not read must not keep us from stopping.
		_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, err = fmt.Fprintln(conn, strings.Join(assignments, "\n"))
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		a.log().Warn("the service manager was not notified: check $NOTIFY_SOCKET", "socket", socket, "error", err)
	}
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
func (a *App) reloading() {
	a.systemd("RELOADING=1", fmt.Sprintf("MONOTONIC_USEC=%d", linux.Monotonic().Microseconds()))
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

// keepAlive answers the watchdog until the result is called.
func (a *App) keepAlive() (end func()) {
	interval := watchdog()
	if interval == 0 {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticks := time.NewTicker(interval)
		defer ticks.Stop()
		for {
			a.systemd("WATCHDOG=1")
			select {
			case <-ticks.C:
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
	}
}
