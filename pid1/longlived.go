package pid1

import (
	"context"
	"net/http"
)

// EndOnStop is for handlers of long-lived requests that watch only their context:
// server-sent events (SSE), long polls, streams. It ends the contexts of h's
// requests when the stop begins; context.Cause says why, as [SignalError] for
// instance. Without it they end shortly before the stop's deadline. Requests that
// come after that, in the delay, get a context that has ended.
//
// Use it for such handlers only: what watches its context because its client may
// leave would be cut off, too.
func (a *App) EndOnStop(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		stopping := a.stopContext()
		defer context.AfterFunc(stopping, func() { cancel(context.Cause(stopping)) })()
		h.ServeHTTP(w, r.WithContext(ctx))
	})
}
