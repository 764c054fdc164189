package parcel

import (
	"encoding/json"
	"errors"
	"os"
)

const (
	FilesAt = filesAt
	EndAt   = endAt
	SlotAt  = int64(slotAt)
)

// WriteEntries writes a stream of files as a guest could.
func WriteEntries(dev *os.File, end End, entries ...[]byte) error {
	text, err := json.Marshal(end)
	if err != nil {
		return err
	}
	return WriteRaw(dev, text, entries...)
}

// WriteRaw does so with an end that need not be one.
func WriteRaw(dev *os.File, end []byte, entries ...[]byte) error {
	out, err := newBlocks(dev, kindFiles, filesAt, filesSize, 1<<20)
	if err != nil {
		return err
	}
	for _, e := range entries {
		b, err := out.reserve(len(e))
		if err != nil {
			return err
		}
		out.commit(copy(b, e))
	}
	_, err = dev.WriteAt(end, endAt)
	s := slot{end: int64(len(end)), sum: checksum(kindEnd, 0, end), files: out.used()}
	_, slotErr := dev.WriteAt(s.encode(), slotAt)
	return errors.Join(out.flush(), err, slotErr)
}

// LimitReport leaves a report less room than there is.
func LimitReport(w *Writer, size int64) { w.report.limit = w.report.begin + size }
