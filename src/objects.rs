//! Values that are read from JSON objects and from nothing else. serde takes a list for a structure too, by the order of
//! its fields, and so an empty list for one that says nothing: a token would be limited by less than was meant.

/// For a type that derives both directions with `#[serde(remote = "Self")]`.
macro_rules! only_from_objects {
    ($type:ty, $expected:literal) => {
        impl serde::Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$type>::serialize(self, serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Objects;

                impl<'de> serde::de::Visitor<'de> for Objects {
                    type Value = $type;

                    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_map<A: serde::de::MapAccess<'de>>(
                        self,
                        map: A,
                    ) -> Result<$type, A::Error> {
                        <$type>::deserialize(serde::de::value::MapAccessDeserializer::new(map))
                    }
                }

                deserializer.deserialize_map(Objects)
            }
        }
    };
}
pub(crate) use only_from_objects;
