//! Slots that are used again, buffers and all, under keys that tell a new tenant from the old.

use std::marker::PhantomData;

/// The place of a `T` in its arena. A key whose tenant is gone finds nothing, also when the slot is
/// taken again.
pub(crate) struct Key<T> {
    index: u32,
    generation: u32,
    of: PhantomData<fn() -> T>,
}

impl<T> Key<T> {
    /// Stands for no tenant.
    pub(crate) const NONE: Self = Self {
        index: u32::MAX,
        generation: 0,
        of: PhantomData,
    };

    /// The slot, for whoever can only keep a number.
    pub(crate) fn index(self) -> usize {
        self.index as usize
    }
}

impl<T> Clone for Key<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Key<T> {}

impl<T> PartialEq for Key<T> {
    fn eq(&self, other: &Self) -> bool {
        (self.index, self.generation) == (other.index, other.generation)
    }
}

impl<T> Eq for Key<T> {}

impl<T> std::fmt::Debug for Key<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.index, self.generation)
    }
}

struct Slot<T> {
    /// Odd while somebody lives here.
    generation: u32,
    value: T,
}

/// Slots of one type. A slot that is freed keeps its value for the next tenant to reuse: buffers are
/// allocated once.
pub(crate) struct Arena<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Arena<T> {
    /// Takes a slot. Its value is what the last tenant left, or `fresh`.
    pub(crate) fn take(&mut self, fresh: impl FnOnce() -> T) -> (Key<T>, &mut T) {
        let index = self.free.pop().unwrap_or_else(|| self.push(fresh()));
        let key = self.occupy(index);
        (key, &mut self.slots[key.index()].value)
    }

    /// Takes a slot for this value.
    pub(crate) fn insert(&mut self, value: T) -> Key<T> {
        let index = match self.free.pop() {
            Some(index) => {
                self.slots[index as usize].value = value;
                index
            }
            None => self.push(value),
        };
        self.occupy(index)
    }

    fn push(&mut self, value: T) -> u32 {
        self.slots.push(Slot {
            generation: 0,
            value,
        });
        // Slots are bounded by connections and streams, far below the range of the number.
        (self.slots.len() - 1) as u32
    }

    fn occupy(&mut self, index: u32) -> Key<T> {
        let slot = &mut self.slots[index as usize];
        slot.generation = slot.generation.wrapping_add(1);
        Key {
            index,
            generation: slot.generation,
            of: PhantomData,
        }
    }

    /// Ends a tenancy and hands out the value, to be emptied.
    pub(crate) fn free(&mut self, key: Key<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index())?;
        if slot.generation != key.generation {
            return None;
        }
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(&mut slot.value)
    }

    /// What former tenants left.
    pub(crate) fn each_free(&mut self, mut visit: impl FnMut(&mut T)) {
        for &index in &self.free {
            visit(&mut self.slots[index as usize].value);
        }
    }

    pub(crate) fn get(&self, key: Key<T>) -> Option<&T> {
        let slot = self.slots.get(key.index())?;
        (slot.generation == key.generation).then_some(&slot.value)
    }

    pub(crate) fn get_mut(&mut self, key: Key<T>) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.index())?;
        (slot.generation == key.generation).then_some(&mut slot.value)
    }

    /// The key of whoever lives in this slot.
    pub(crate) fn at(&self, index: usize) -> Option<Key<T>> {
        let slot = self.slots.get(index)?;
        (slot.generation % 2 == 1).then_some(Key {
            index: index as u32,
            generation: slot.generation,
            of: PhantomData,
        })
    }

    /// How many live here.
    pub(crate) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Everybody's key.
    pub(crate) fn keys(&self) -> Vec<Key<T>> {
        (0..self.slots.len())
            .filter_map(|index| self.at(index))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_own_tenant_only_and_buffers_are_reused() {
        let mut arena: Arena<Vec<u8>> = Arena::default();
        let (first, value) = arena.take(Vec::new);
        value.extend([1, 2, 3]);
        assert_eq!(arena.len(), 1);
        arena.free(first).expect("it lives").clear();
        assert!(arena.get(first).is_none() && arena.free(first).is_none());
        let (second, value) = arena.take(Vec::new);
        assert!(value.capacity() >= 3 && value.is_empty());
        assert_eq!(second.index(), first.index());
        assert!(arena.get(first).is_none() && arena.get(second).is_some());
        assert_eq!(arena.keys(), [second]);
        assert!(arena.get(Key::NONE).is_none());
    }
}
