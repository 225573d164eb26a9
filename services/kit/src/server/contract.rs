//! Reads the embedded descriptor set without decoding it: a service needs names from it, and the raw
//! bytes of single files for reflection, custom options included.

use contracts::FILE_DESCRIPTOR_SET;

/// The parts of a `FileDescriptorProto` that tell what it declares; all borrow the embedded set.
pub(super) struct File {
    pub(super) bytes: &'static [u8],
    pub(super) name: &'static str,
    pub(super) dependencies: Vec<&'static str>,
    /// Full names of messages, enums, services, methods, extensions, fields and enum values.
    pub(super) symbols: Vec<String>,
    /// `(extended message, number)` of each extension.
    pub(super) extensions: Vec<(String, i32)>,
    services: Vec<(String, Vec<&'static str>)>,
}

/// All files of the embedded sets: our contracts, health and reflection.
pub(super) fn files() -> Vec<File> {
    let sets = [
        FILE_DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    sets.into_iter()
        .flat_map(fields)
        .filter_map(|field| match field {
            (1, Field::Bytes(bytes)) => Some(File::read(bytes)),
            _ => None,
        })
        .collect()
}

/// `package.Service/Method` of all methods of `services`.
pub(super) fn methods(services: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files() {
        for (service, methods) in &file.services {
            if services.contains(&service.as_str()) {
                found.extend(methods.iter().map(|method| format!("{service}/{method}")));
            }
        }
    }
    found
}

impl File {
    fn read(bytes: &'static [u8]) -> Self {
        let mut file = Self {
            bytes,
            name: "",
            dependencies: Vec::new(),
            symbols: Vec::new(),
            extensions: Vec::new(),
            services: Vec::new(),
        };
        let mut package = "";
        let mut declared = Vec::new();
        for field in fields(bytes) {
            match field {
                (1, Field::Bytes(name)) => file.name = text(name),
                (2, Field::Bytes(name)) => package = text(name),
                (3, Field::Bytes(name)) => file.dependencies.push(text(name)),
                (4..=7, Field::Bytes(body)) => declared.push((field.0, body)),
                _ => {}
            }
        }
        for (number, body) in declared {
            match number {
                4 => file.read_message(package, body),
                5 => file.read_enum(package, body),
                6 => file.read_service(package, body),
                _ => file.read_extension(package, body),
            }
        }
        file
    }

    fn read_message(&mut self, scope: &str, body: &'static [u8]) {
        let full = join(scope, name_of(body));
        for field in fields(body) {
            match field {
                (2, Field::Bytes(member)) | (8, Field::Bytes(member)) => {
                    self.symbols.push(join(&full, name_of(member)));
                }
                (3, Field::Bytes(nested)) => self.read_message(&full, nested),
                (4, Field::Bytes(nested)) => self.read_enum(&full, nested),
                (6, Field::Bytes(nested)) => self.read_extension(&full, nested),
                _ => {}
            }
        }
        self.symbols.push(full);
    }

    fn read_enum(&mut self, scope: &str, body: &'static [u8]) {
        for field in fields(body) {
            if let (2, Field::Bytes(value)) = field {
                // Enum values live beside their enum.
                self.symbols.push(join(scope, name_of(value)));
            }
        }
        self.symbols.push(join(scope, name_of(body)));
    }

    fn read_service(&mut self, scope: &str, body: &'static [u8]) {
        let full = join(scope, name_of(body));
        let methods: Vec<&'static str> = fields(body)
            .filter_map(|field| match field {
                (2, Field::Bytes(method)) => Some(name_of(method)),
                _ => None,
            })
            .collect();
        self.symbols
            .extend(methods.iter().map(|method| join(&full, method)));
        self.symbols.push(full.clone());
        self.services.push((full, methods));
    }

    fn read_extension(&mut self, scope: &str, body: &'static [u8]) {
        let mut extended = "";
        let mut number = 0;
        for field in fields(body) {
            match field {
                (2, Field::Bytes(name)) => extended = text(name).trim_start_matches('.'),
                (3, Field::Varint(value)) => number = i32::try_from(value).unwrap_or_default(),
                _ => {}
            }
        }
        self.symbols.push(join(scope, name_of(body)));
        self.extensions.push((extended.to_owned(), number));
    }
}

fn join(scope: &str, name: &str) -> String {
    if scope.is_empty() {
        name.to_owned()
    } else {
        format!("{scope}.{name}")
    }
}

/// Every descriptor has its name in field 1.
fn name_of(body: &'static [u8]) -> &'static str {
    let name = fields(body).find_map(|field| match field {
        (1, Field::Bytes(name)) => Some(text(name)),
        _ => None,
    });
    name.unwrap_or_default()
}

fn text(bytes: &'static [u8]) -> &'static str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

enum Field {
    Varint(u64),
    Bytes(&'static [u8]),
}

/// The fields of one encoded message. The set was made by our own build, so a malformed rest, which
/// cannot be, simply ends it.
fn fields(mut rest: &'static [u8]) -> impl Iterator<Item = (u32, Field)> {
    std::iter::from_fn(move || {
        loop {
            if rest.is_empty() {
                return None;
            }
            let key = prost::encoding::decode_varint(&mut rest).ok()?;
            let number = u32::try_from(key >> 3).ok()?;
            match key & 7 {
                0 => {
                    let value = prost::encoding::decode_varint(&mut rest).ok()?;
                    return Some((number, Field::Varint(value)));
                }
                1 => rest = rest.get(8..)?,
                2 => {
                    let length = prost::encoding::decode_varint(&mut rest).ok()?;
                    let (bytes, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                    rest = after;
                    return Some((number, Field::Bytes(bytes)));
                }
                5 => rest = rest.get(4..)?,
                _ => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_agrees_with_the_descriptor_pool() {
        let (files, pool) = (files(), contracts::pool());
        assert!(files.len() >= pool.files().count());
        let symbols: std::collections::HashSet<&str> = files
            .iter()
            .flat_map(|file| file.symbols.iter().map(String::as_str))
            .collect();
        for message in pool.all_messages() {
            assert!(
                symbols.contains(message.full_name()),
                "{}",
                message.full_name()
            );
        }
        for service in pool.services() {
            let listed = methods(&[service.full_name()]);
            assert_eq!(
                listed.len(),
                service.methods().count(),
                "{}",
                service.full_name()
            );
        }
        let extensions: usize = files.iter().map(|file| file.extensions.len()).sum();
        assert!(extensions >= pool.all_extensions().count());
    }
}
