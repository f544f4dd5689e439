// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"slices"
)

// A value is an unsigned integer (uint64), bytes, null (nil) or an array of values.
type value any

// field is one row of the document's tables: a field and its default, or none.
type field struct {
	name     string
	standard value
	required bool
}

func required(name string) field           { return field{name, nil, true} }
func optional(name string, by value) field { return field{name, by, false} }

var none = []value{}

// kinds are the fields of each kind, in order.
var kinds = []struct {
	name   string
	fields []field
}{
	{"block", []field{
		required("caption"), required("slot"), required("tokens"), optional("state_positions", none),
		optional("states", octets{}), optional("projection", uint64(0)), optional("keep", uint64(0)),
		optional("prefix", none), optional("continue_to", uint64(0)),
		optional("exponent", uint64(0)), optional("draft_weights", octets{}),
	}},
	{"cover", nil},
	{"verdict", []field{
		required("caption"), required("start"), required("accepted"),
		optional("correction", nil), optional("continuation", none),
	}},
	{"refusal", []field{required("code")}},
}

// head writes a type and an argument in the shortest form.
func head(to []byte, major byte, argument uint64) []byte {
	switch {
	case argument < 24:
		return append(to, major<<5|byte(argument))
	case argument < 1<<8:
		return append(to, major<<5|24, byte(argument))
	case argument < 1<<16:
		return binary.BigEndian.AppendUint16(append(to, major<<5|25), uint16(argument))
	case argument < 1<<32:
		return binary.BigEndian.AppendUint32(append(to, major<<5|26), uint32(argument))
	}
	return binary.BigEndian.AppendUint64(append(to, major<<5|27), argument)
}

func write(to []byte, item value) []byte {
	switch item := item.(type) {
	case uint64:
		return head(to, 0, item)
	case octets:
		return append(head(to, 2, uint64(len(item))), item...)
	case []value:
		to = head(to, 4, uint64(len(item)))
		for _, one := range item {
			to = write(to, one)
		}
		return to
	}
	return append(to, 0xF6)
}

// read takes one item, with arrays to this depth. What is not in the shortest form shows when the
// message is written again.
func read(data []byte, depth int) (value, []byte, error) {
	if len(data) == 0 {
		return nil, nil, rejected
	}
	first, data := data[0], data[1:]
	if first == 0xF6 {
		return nil, data, nil
	}
	argument := uint64(first & 31)
	if argument >= 24 {
		width := 1 << (argument - 24)
		if width > 8 || len(data) < width {
			return nil, nil, rejected
		}
		argument = 0
		for _, octet := range data[:width] {
			argument = argument<<8 | uint64(octet)
		}
		data = data[width:]
	}
	switch major := first >> 5; {
	case major == 0:
		return argument, data, nil
	case major == 2 && argument <= uint64(len(data)):
		return octets(data[:argument]), data[argument:], nil
	case major == 4 && depth > 0 && argument <= uint64(len(data)):
		items := make([]value, argument)
		for i := range items {
			var err error
			if items[i], data, err = read(data, depth-1); err != nil {
				return nil, nil, err
			}
		}
		return items, data, nil
	}
	return nil, nil, rejected
}

// decode gives the fields of a message by name. A welcome is a map and not read here.
func decode(data []byte) (map[string]value, error) {
	item, rest, err := read(data, 2)
	items, isArray := item.([]value)
	if err != nil || len(rest) > 0 || !isArray || len(items) == 0 {
		return nil, rejected
	}
	number, isNumber := items[0].(uint64)
	if !isNumber || number >= uint64(len(kinds)) {
		return nil, rejected
	}
	kind := kinds[number]
	if len(items)-1 > len(kind.fields) {
		return nil, rejected
	}
	fields := map[string]value{"kind": kind.name}
	for i, field := range kind.fields {
		switch {
		case i+1 < len(items):
			fields[field.name] = items[i+1]
		case field.required:
			return nil, rejected
		default:
			fields[field.name] = field.standard
		}
	}
	if !bytes.Equal(encode(number, fields), data) {
		return nil, rejected
	}
	return fields, nil
}

// encode writes the fields of a kind in order, without the defaults at the end.
func encode(number uint64, fields map[string]value) []byte {
	items := []value{number}
	for _, field := range kinds[number].fields {
		items = append(items, fields[field.name])
	}
	for n := len(items) - 1; n > 0; n-- {
		field := kinds[number].fields[n-1]
		if field.required || !slices.Equal(write(nil, items[n]), write(nil, field.standard)) {
			break
		}
		items = items[:n]
	}
	return write(nil, items)
}
