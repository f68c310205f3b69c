package pid1

import (
	"fmt"
	"net"
	"os"
	"strings"
	"time"
)

// systemd tells the service manager of a change of state, by the protocol of
// sd_notify(3): one datagram to the socket that $NOTIFY_SOCKET names, an
// abstract one if that begins with "@". Without the variable, it does nothing.
func (a *App) systemd(assignments ...string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	for i, assignment := range assignments {
		// Not by strings.ReplaceAll, which nothing else needs: 8 KiB.
		assignments[i] = strings.Join(strings.Split(assignment, "\n"), "; ") // an error may have several lines
	}
	conn, err := net.Dial("unixgram", socket)
	if err == nil {
		// A manager that does not read must not keep us from stopping.
		_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, err = fmt.Fprintln(conn, strings.Join(assignments, "\n"))
		err = join(err, conn.Close())
	}
	if err != nil {
		a.log().Warn("the service manager was not notified: check $NOTIFY_SOCKET", "socket", socket, "error", err)
	}
}

// extendTimeout asks the service manager for as long as a stop may take: what
// its TimeoutStopSec allows is less, perhaps.
func extendTimeout(grace time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", grace.Microseconds())
}
