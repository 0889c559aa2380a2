//! Objects with a map of keys and values (omap), as the journal is made of.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::io;
use std::ptr;

use super::library::Raw;
use super::pool::Pool;
use super::{c_string, checked, copied};

/// Keys and values.
pub(crate) type Map = BTreeMap<String, String>;

/// How many entries one request gives.
const PAGE: u64 = 1000;
/// `LIBRADOS_CREATE_EXCLUSIVE`.
const EXCLUSIVE: i32 = 1;
/// `LIBRADOS_CREATE_IDEMPOTENT`.
const IDEMPOTENT: i32 = 0;
/// `LIBRADOS_CMPXATTR_OP_EQ`.
const EQUAL: u8 = 1;

/// A change of one object, done whole or not at all.
struct Write<'a> {
    pool: &'a Pool,
    raw: Raw,
}

impl<'a> Write<'a> {
    fn new(pool: &'a Pool) -> Self {
        // SAFETY: it takes nothing; the result is freed once, when this is dropped.
        Self { pool, raw: unsafe { (pool.library().rados_create_write_op)() } }
    }

    /// To be done only if the key has this value.
    fn only_if(&self, key: &str, value: &str) -> io::Result<()> {
        let key = c_string(key)?;
        // SAFETY: key and value are copied by the call.
        unsafe {
            (self.pool.library().rados_write_op_omap_cmp)(
                self.raw,
                key.as_ptr(),
                EQUAL,
                value.as_ptr(),
                value.len(),
                ptr::null_mut(),
            );
        }
        Ok(())
    }

    /// Sets keys.
    fn set(&self, entries: &[(&str, &str)]) -> io::Result<()> {
        let keys = entries.iter().map(|(key, _)| c_string(key)).collect::<io::Result<Vec<CString>>>()?;
        let key_pointers: Vec<*const c_char> = keys.iter().map(|key| key.as_ptr()).collect();
        let values: Vec<*const c_char> = entries.iter().map(|(_, value)| value.as_ptr().cast()).collect();
        let lengths: Vec<usize> = entries.iter().map(|(_, value)| value.len()).collect();
        // SAFETY: three arrays of the same length, whose content is copied by the call.
        unsafe {
            (self.pool.library().rados_write_op_omap_set)(
                self.raw,
                key_pointers.as_ptr(),
                values.as_ptr(),
                lengths.as_ptr(),
                entries.len(),
            );
        }
        Ok(())
    }

    /// Does it.
    fn operate(&self, object: &str) -> io::Result<()> {
        let object = c_string(object)?;
        // SAFETY: operation, pool and string outlive the call; no time is given.
        let outcome = unsafe {
            (self.pool.library().rados_write_op_operate)(
                self.raw,
                self.pool.raw,
                object.as_ptr(),
                ptr::null_mut(),
                0,
            )
        };
        checked(outcome).map(|_| ())
    }
}

impl Drop for Write<'_> {
    fn drop(&mut self) {
        // SAFETY: it was made by rados_create_write_op and is freed once.
        unsafe { (self.pool.library().rados_release_write_op)(self.raw) };
    }
}

impl Pool {
    /// Makes an object with these keys.
    ///
    /// # Errors
    /// EEXIST.
    pub(crate) fn create_object(&self, object: &str, entries: &[(&str, &str)]) -> io::Result<()> {
        let write = Write::new(self);
        // SAFETY: the operation is alive; no category is given.
        unsafe { (self.library().rados_write_op_create)(write.raw, EXCLUSIVE, ptr::null()) };
        write.set(entries)?;
        write.operate(object)
    }

    /// Sets keys of an object, if another one has this value; an absent key has an empty one.
    ///
    /// # Errors
    /// ENOENT without the object; ECANCELED when the key has another value.
    pub(crate) fn set_if(
        &self,
        object: &str,
        (key, value): (&str, &str),
        entries: &[(&str, &str)],
    ) -> io::Result<()> {
        let write = Write::new(self);
        // SAFETY: the operation is alive.
        unsafe { (self.library().rados_write_op_assert_exists)(write.raw) };
        write.only_if(key, value)?;
        write.set(entries)?;
        write.operate(object)
    }

    /// Sets one key if it is absent; the object is made if need be.
    ///
    /// # Errors
    /// ECANCELED when it has a value.
    pub(crate) fn claim(&self, object: &str, key: &str, value: &str) -> io::Result<()> {
        let write = Write::new(self);
        // SAFETY: the operation is alive; no category is given. An absent object could not be compared with.
        unsafe { (self.library().rados_write_op_create)(write.raw, IDEMPOTENT, ptr::null()) };
        // An absent key is compared as an empty value.
        write.only_if(key, "")?;
        write.set(&[(key, value)])?;
        write.operate(object)
    }

    /// Removes one key if it has this value; an absent object is fine.
    ///
    /// # Errors
    /// ECANCELED when it has another value, or is absent.
    pub(crate) fn release(&self, object: &str, key: &str, value: &str) -> io::Result<()> {
        let write = Write::new(self);
        write.only_if(key, value)?;
        let key = c_string(key)?;
        // SAFETY: an array of one, whose content is copied by the call.
        unsafe { (self.library().rados_write_op_omap_rm_keys)(write.raw, [key.as_ptr()].as_ptr(), 1) };
        super::gone(write.operate(object))
    }

    /// Removes an object; an absent one is fine.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn remove_object(&self, object: &str) -> io::Result<()> {
        let object = c_string(object)?;
        // SAFETY: the string outlives the call.
        super::gone(checked(unsafe { (self.library().rados_remove)(self.raw, object.as_ptr()) }).map(|_| ()))
    }

    /// All keys and values of an object; none without the object.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn map(&self, object: &str) -> io::Result<Option<Map>> {
        let mut all = Map::new();
        loop {
            let after = all.last_key_value().map_or(String::new(), |(key, _)| key.clone());
            let Some((page, more)) = super::found(self.page(object, &after, "", PAGE))? else {
                return Ok(None);
            };
            let is_last = !more || page.is_empty();
            all.extend(page);
            if is_last {
                return Ok(Some(all));
            }
        }
    }

    /// One value; none without the object or the key.
    ///
    /// # Errors
    /// Ceph's.
    pub(crate) fn value(&self, object: &str, key: &str) -> io::Result<Option<String>> {
        // Of the keys that begin with this one it is the first.
        let page = super::found(self.page(object, "", key, 1))?;
        Ok(page.and_then(|(page, _)| page.get(key).cloned()))
    }

    /// Up to `limit` entries after a key, of keys that begin with `prefix`, and whether there are more.
    ///
    /// # Errors
    /// ENOENT without the object.
    pub(crate) fn page(
        &self,
        object: &str,
        after: &str,
        prefix: &str,
        limit: u64,
    ) -> io::Result<(Map, bool)> {
        let (object, after, prefix) = (c_string(object)?, c_string(after)?, c_string(prefix)?);
        let library = self.library();
        let (mut entries, mut more, mut outcome) = (ptr::null_mut(), 0, 0);
        // SAFETY: the operation is released below, once. The results are written by the operation, which ends before they go.
        let done = unsafe {
            let read = (library.rados_create_read_op)();
            (library.rados_read_op_omap_get_vals2)(
                read,
                after.as_ptr(),
                prefix.as_ptr(),
                limit,
                &raw mut entries,
                &raw mut more,
                &raw mut outcome,
            );
            let done = (library.rados_read_op_operate)(read, self.raw, object.as_ptr(), 0);
            (library.rados_release_read_op)(read);
            done
        };
        let all = checked(done).and_then(|_| checked(outcome)).map(|_| self.taken(entries));
        if !entries.is_null() {
            // SAFETY: the iterator is freed once, and nothing from it is used after this.
            unsafe { (library.rados_omap_get_end)(entries) };
        }
        Ok((all?, more != 0))
    }

    /// Copies what an iterator has.
    fn taken(&self, entries: Raw) -> Map {
        let mut all = Map::new();
        loop {
            let (mut key, mut value, mut length) = (ptr::null_mut(), ptr::null_mut(), 0);
            // SAFETY: the iterator is alive; the results are written.
            let outcome = unsafe {
                (self.library().rados_omap_get_next)(entries, &raw mut key, &raw mut value, &raw mut length)
            };
            if outcome < 0 || key.is_null() {
                return all;
            }
            let value = if value.is_null() {
                String::new()
            } else {
                // SAFETY: Ceph gave this many bytes, which are there until the iterator ends.
                let bytes = unsafe { std::slice::from_raw_parts(value.cast::<u8>(), length) };
                String::from_utf8_lossy(bytes).into_owned()
            };
            // SAFETY: a key is a C string that is there until the iterator ends.
            all.insert(unsafe { copied(key) }, value);
        }
    }
}
