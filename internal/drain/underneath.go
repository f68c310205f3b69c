// SPDX-License-Identifier: MIT

package drain

import (
	"net"
	"reflect"
)

// insert returns l with ours(inner) in the place of the listener inside if l is
// what tls.NewListener returns, else ours(l). Around a *tls.Conn is no room for our
// connections, since net/http has to see that type. The result is a copy: the user
// may be using l, and has it unchanged.
func insert(l net.Listener, ours func(inner net.Listener) net.Listener) net.Listener {
	field, ok := inside(l)
	if t := reflect.TypeOf(l); !ok || t.Kind() != reflect.Pointer || t.Elem().PkgPath() != "crypto/tls" {
		return ours(l)
	}
	outer := reflect.New(reflect.TypeOf(l).Elem())
	outer.Elem().Set(reflect.ValueOf(l).Elem())
	inner := field.Interface().(net.Listener)
	field, _ = fieldOf(outer.Interface(), "Listener")
	field.Set(reflect.ValueOf(insert(inner, ours)))
	return outer.Interface().(net.Listener)
}

// inside returns the field of l that has another listener.
func inside(l net.Listener) (field reflect.Value, ok bool) {
	if field, ok = fieldOf(l, "Listener"); ok {
		_, ok = field.Interface().(net.Listener)
	}
	return field, ok
}

// fieldOf returns the field of a struct, or of one that is pointed to, if it is an
// interface.
func fieldOf(of any, name string) (field reflect.Value, ok bool) {
	v := reflect.Indirect(reflect.ValueOf(of))
	for i := 0; v.Kind() == reflect.Struct && i < v.NumField(); i++ {
		if v.Type().Field(i).Name == name && v.Field(i).Kind() == reflect.Interface {
			return v.Field(i), v.Field(i).CanInterface()
		}
	}
	return v, false
}

// unwrapped returns the innermost listener inside l that is to be found.
func unwrapped(l net.Listener) net.Listener {
	for range maxWrappers {
		field, ok := inside(l)
		if !ok {
			break
		}
		l = field.Interface().(net.Listener)
	}
	return l
}

// maxWrappers bounds how deep we look for a socket.
const maxWrappers = 8

// unwrap returns the connection inside conn, or nil: by its method NetConn, as a
// *tls.Conn has it, or embedded.
func unwrap(conn net.Conn) net.Conn {
	if outer, ok := conn.(interface{ NetConn() net.Conn }); ok {
		return outer.NetConn()
	}
	if field, ok := fieldOf(conn, "Conn"); ok {
		inner, _ := field.Interface().(net.Conn)
		return inner
	}
	return nil
}
