// SPDX-License-Identifier: MIT

package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"time"
)

// kept is how long a note lives.
const kept = 24 * time.Hour

// notes is what the service is about.
type notes struct{ db *sql.DB }

func (n notes) handle(mux *http.ServeMux) {
	mux.HandleFunc("POST /notes", n.add)
	mux.HandleFunc("GET /notes", n.list)
}

func (n notes) add(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<16))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if _, err := n.db.ExecContext(r.Context(), "INSERT INTO notes(text, made) VALUES (?, ?)", text, time.Now().Unix()); err != nil {
		n.fail(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

func (n notes) list(w http.ResponseWriter, r *http.Request) {
	rows, err := n.db.QueryContext(r.Context(), "SELECT text FROM notes ORDER BY id")
	if err != nil {
		n.fail(w, err)
		return
	}
	defer rows.Close()
	list := []string{}
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			n.fail(w, err)
			return
		}
		list = append(list, text)
	}
	if err := rows.Err(); err != nil {
		n.fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(list)
}

func (n notes) fail(w http.ResponseWriter, err error) {
	slog.Error("database", "error", err)
	http.Error(w, "the database failed", http.StatusInternalServerError)
}

// expire is the worker: it deletes old notes until ctx ends.
func (n notes) expire(ctx context.Context) error {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if _, err := n.db.ExecContext(ctx, "DELETE FROM notes WHERE made < ?", time.Now().Add(-kept).Unix()); err != nil && ctx.Err() == nil {
				slog.Error("expiry", "error", err)
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
