// SPDX-License-Identifier: MIT

package drain

// records follows the records of a TLS connection, to know whether half of one
// was read.
type records struct {
	header [5]byte
	have   uint8
	body   int // bytes that the record still has
}

func (r *records) partial() bool { return r.have > 0 || r.body > 0 }

func (r *records) take(b []byte) {
	for len(b) > 0 {
		if r.body > 0 {
			n := min(r.body, len(b))
			r.body -= n
			b = b[n:]
			continue
		}
		n := copy(r.header[r.have:], b)
		b = b[n:]
		if r.have += uint8(n); r.have == 5 {
			r.have, r.body = 0, int(r.header[3])<<8|int(r.header[4])
		}
	}
}
