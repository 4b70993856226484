"""The 2,048 words of join codes: eleven bits a word.

Chosen once, from common English words of 3 to 8 letters, so that a code survives being said, heard and typed:

- any two words are at least two edits apart (optimal string alignment: insert, delete, replace a letter, swap two
  neighbours), so one slip never turns a word into another and can often be undone;
- any two words also differ in more than one sound, and none has a common homophone;
- no number words (a code ends in a number), no words with two usual spellings, none that is rude or divides people.

The order is alphabetical and is no part of the protocol: only the words themselves enter the key exchange.
"""

from __future__ import annotations

from typing import Final

WORDS: Final[tuple[str, ...]] = tuple(
    """
abandon ability abound about above abroad abrupt absent absorb acacia academy accent access achieve acorn acoustic
acquire acre action active activity actress adapt additive address adhere adhesive adjust admire admit adobe advance
aerosol affair affinity afraid after agency agenda agent agree ahead aircraft airfield airflow airport airway alarm
album alert algebra alias alibi alloy allure almond aloha alone alpine alright amateur amaze amber ammonia ammonium
amount analogy analysis analyst anchor ancient android angry animal ankle annex another answer antelope antenna anthem
anvil apart apex appeal apple approach approval approve apron aquarium aquatic arcade arch archive area argue argument
armchair aroma arrival arrive article artist artwork aside aspect aspen asphalt aspire assess asset assist assume
asteroid athlete atomic attach attain attempt attend attest attic attire attitude attract auburn audience audio aurora
author autumn avatar average avocado avoid awaken award away awful awkward azalea baby backdrop backfire backlash
backpack backup backyard bacon bag bagel baggage bakery balance balcony ballad ballast balloon ballpark ballroom
bamboo banana bandage banjo bank banquet bargain barge barley barrier basalt baseball basement basil basket bathroom
bathtub battery beard beauty beaver become bedrock bedroom bedtime beef begin behalf behave behind beige belief belong
beloved belt bench benefit benign beta beware biceps bicycle bike binary bingo biology biomass birthday bison bistro
blackout blade blanket blast bleak blend blog blossom blouse bluff blunt blur boat body bolster bonfire bonnet bonus
booklet bookmark bookshop boost booth botany bottle bounce bounty box brace bracelet bracket bran bravery bravo
breakup breed brewery bridge brigade bright brink brittle broccoli bronze brother bubble bucket buffalo bulge bulky
bulldog bumpy bundle bungalow bunker burrito business busy butter button buyout buzz bypass cab cabaret cabin cabinet
cable cactus caffeine calcium calculus calendar cameo camera camp campfire canal candle candy canine canister canoe
canopy canteen canyon capable capacity capsule captain capture caramel caravan carbon card cardigan careful cargo
carousel carriage cartoon cascade case cashmere cassette catalyst catchy category catfish cattle causeway caviar
cavity cedar celery cement central century ceramic ceremony chair chalice chamber change charcoal chariot charity
chart cheeky cheese cheetah chemical chestnut chicken child chimney chin chlorine chop chrome chromium chuckle cinema
circuit citrus clarify clarinet clasp classic clever click client climate climb clinch clinic closet closure cloth
cloud cluster clutch coach coast coastal cobalt cobra cockpit coconut cocoon collar college column combo comedy comet
comfort comfy comic comment commit commute compact company compare compass compete complex compost computer concept
concern concrete conduit confetti confirm connect conquer console contact contest continue control convent convex
convoy cookie copy cordial cordon corner corral corridor cosmetic cosmos costume cotton country couple coupon courage
cover coverage cowboy cradle crate crawl crayon creamy creation creek crescent cricket crimson crisp croft crouch
crucial crucible crunch crush cube cubic cubicle cucumber cuisine culture cumin cupboard cupcake curfew curious
current cursor curve cushion custard custom cutlery cycle cylinder dainty daisy darling date daybreak daylight daytime
deadline debate decade decision decor decrease default defend degree delay deliver delta deluxe delve demand density
depart depict deploy deposit depth design desk desktop destiny detail detector detour develop devoid devote diagonal
diagram dialect diamond diary dice diet dietary digital dignity dilemma dinosaur dioxide direct discard disco discount
display distal distance district ditch ditto document dodge dolphin domain dome doodle door doorbell doorstep doorway
down downhill download downtime downtown dozen drag dragon drama drift drill driveway drizzle drop drum duchy dugout
duke dungeon duplex duration dusty dynamic dynamite dynamo dynasty eager eagle earth easy ebony eclipse economy edible
editor educate effort egg elbow electric electron elephant elevator elite elixir email embark embassy emblem embrace
emerald emotion emperor employ enamel encore endgame endless energy enforce engage engine enhance enigma enjoy enough
enrich enter entire entrance entry envelope envy enzyme epic episode equine equinox equip equity errand eruption
escape espresso essay essence estate eternity ethernet ethical even evidence evoke evolve exact examine example exceed
excel exchange excite exclude exercise exert exhaust exhibit exit exotic expand explain explore expo export express
extend external extra extract extreme fabric facility factor faculty faith falcon fall family famous fancy farm fast
fathom faucet feature fedora feline fence festival fetch fiction fiddle fiesta figure filament film filter final
finance finch fire fireball firefly firewood fishery flagship flamingo flank flannel flash flint flip float flood
floppy flora floss fluent fluffy fluoride flurry flux fly focus foggy fold footage football footwear forge formal
formula fortress forum fossil foster foundry fraction fragile fragment frame free freedom freeway fresco fresh frigate
frog frontal frost fructose fruit fudge fuel fund fungus furnace further fuselage fusion future fuzzy gadget gain
galaxy gallery gallon gambit gamma garage garden garlic garment garnet garnish gateway gather gator gazette gearbox
gelatin general generic genome genuine geology gesture giant giggle gilded ginger giraffe give glacier glass glaze
glimmer glimpse global globe glory glucose glue gluten goal goggles goldfish goodbye govern grab gradual grandma
granite granny grape graphic graphite grasp gravel gravity gravy grind grit grocery groove growl growth grunt guidance
guide guitar gulf guru habit habitat haiku haircut halftime hallway hamlet hammock hamster handbag handball handful
handset happen happy hardware hardwood harmony harness harp harvest haven hazel headset hearty heavy hectic hedge
hedgehog height helium helix helm helpful heritage heroic herring hickory highway hill hillside hinge history hockey
hoist hollow hologram honest honey hook horizon hornet hospital hotel hub huge humane humanity humid hummus hungry
hurdle hurry husband husky hybrid hydrate hydrogen iceberg icon iconic idea identity ignite ignore image imagery
imagine immense impact impala import impose impress improve incident include income increase index indigo indoor
industry infield influx info inform inhale initial inlet innate input insect inside inspire install instant intent
interest interior internet interval intro invest invite iris irony island isotope issue ivory jacket jade jaguar jar
jasper jazz jeep jelly jigsaw join joke jolt journal journey joyful joyous jubilee juice jukebox jumbo jump jumpsuit
junction juncture jungle juniper junk justice justify kangaroo karate karma kayak kennel ketchup keyboard kiln kind
kingdom kiosk kitchen kitty kiwi knock koala lagoon lake lakeside lance landfill language lantern laptop latency
lateral latte laugh laundry laurel lava lavender lavish lawn layout leafy leather leave legacy legend lemon lemonade
length lens leopard level leverage library lifeboat lifeline lifespan lifetime limit limo linear linen lineup lipstick
liquid lithium little lizard lobby lobster local locate loft logic logical logo lollipop lottery lotus lounge loyalty
lucid lucky luggage lumber luna lunch luncheon luxury lyric machine mackerel magic magical magma magnolia mailbox
mainland maintain major mammal manage mandarin mango manifold mantis mantra manual many maple margin marina market
marsh marvel mask masonry massive mastery match material matrix mattress maturity mayo meadow meal meantime measure
medic medium medley melody membrane memoir memorial memory mention mercury mesa message metallic meteor method metric
metro micro midday midnight midterm mighty mileage milk mimic mince mindset mineral minimal minivan miracle mirror
mission misty mixture model modern module mojo molecule moment monkey monsoon monster montage month monument moon
morph mosaic mosquito motif motive motley motor mountain mouse movement movie mud muffin mulberry multiple mural
museum mushroom music musical must mustang mutual muzzle myriad myrtle mystic myth name nanny napkin narrow nation
natural nature nearby nebula necklace needle neon nephew nest network neutral neutron nifty ninja nitrogen noble node
noisy nordic notable notify nova novel novelty nowhere nucleus nugget nurse nursery nutmeg nutshell nutty nylon oasis
oatmeal obey obscure obvious occasion occupy ocean octane octopus odyssey office offset oil olive omega ongoing onion
online only opaque opera operate opinion opposite optic optimal option oracle orange orbit orchard orchid order
organic origin original ornament otter outcome outdoor outfield outfit outflow outlet outline outlook output outside
oval overall overlap overload override overtime oxide oxygen oyster ozone pacific package paddock paint paisley palace
palm pancake panda panel panther paper paradox parcel parkway parody parrot partner passion pasta pastel pastry patent
path pathway patio pattern pave pavilion payday payload payment payroll peach peacock peanut pebble pedestal pelican
pencil pendant pendulum penguin people perfect perfume permit peroxide person pet petrol pheasant phone photo physical
piano piccolo pickup picnic picture pigeon pigment pillow pinnacle pinpoint pinto pipe pivot pixel pizza plaid
plankton plant plastic plate plateau platform platinum plaza plenty plug plume plunge plural plywood pocket podcast
poem poetic poetry poise polite polka pollen polygon polymer pond popcorn poplar porch porous portable portal portion
position positive possible potato powder prairie prank precise predict prefer prefix premium prepare pressure pretty
prevent primary prime prince prism private proceed process product profile progress project promise promote prompt
proof propane proper property propose protein proud provide publish puddle puff pull pulse pumpkin pupil puppet puppy
pure purity purpose pursue pyramid python quaint quake quality quantum quark quarter queen query quest question quilt
quirky quiz quote radar radiator radio radius raffle raft rail railroad railway rainbow rainfall ranch random rapid
raptor ratchet ravine reactor realism reality rebirth reboot reborn rebound rebuild recap receive recent recipe recoil
recovery reduce redwood refill refine reflect reflex refrain refuse reggae region register regular reindeer relate
relax relic relive reload rely remake remark remedy remember remind remote removal render renew renewal rental reopen
repair repeat replay replica report reptile request require resale rescue research reserve reset reside resin resist
resolve respect response restore restroom result resume retina retire retreat return reunion reveal revenue review
revise revival revolt reward rhino rib ribbon rigid ripple rise river roadside roadway robot romance rooftop room
rooster rosemary rotary rotate roulette round routine royal ruby rug rumble runoff runway saddle safari safe safety
saffron sailor salon salsa salty salute samba sandbox sandwich satin satire satisfy sauna sausage scaffold scan scarf
scarlet scenery scenic school science scooter score scrabble scrap screen script scroll scuba seafood search seaside
season seatbelt seawater seaweed section sector secure sedan sediment segment select semester seminar send sentence
sequel sequence serene serious serpent sesame setback settle several shallow shampoo shark shed sheet shelf shelter
sheriff shield shift ship shipment shipyard short shortcut shoulder shovel showroom showtime shrimp shrine shrub
sidewalk sierra signal silent silicon silky silver similar simmer simple single sketch skillet skim skirt slack slalom
sledge sleep slide sling slogan slump small smash smiley smoke smooth snake snapshot snippet snow snowfall snowman
soap soccer social society soda sodium softball soften software solid solo solstice solution solve solvent someone
sonar sonata song source soybean spare special specify spectrum speed speedway sphere spicy spider spike spin spinach
spiral spirit splash splinter split spoil sponge sponsor spooky spout spray spread spring sprinkle spruce square
squash squeeze squid squirrel stable stadium stage stairway stalk stallion stamp stand standard standby starling
starship start startup static station statue steam stellar stereo sticky still stomach stone stop storage storm
strategy straw streak strength stretch stripe struggle student studio study stuff sturgeon stylus subject submit
suburb subway succeed success suffix sugar suit suitcase sully summary sunlight sunrise sunset sunshine super support
surface survey survive sushi sustain swimsuit swirl switch swoop syntax syrup system tablet tabletop tackle tactic
takeaway talent talisman tangent tangle tape target tarmac taste tavern taxi techno teddy temple tempo tent terminal
terrace textile texture theme then theorem thermal think thirst thread thrive throw thunder thus tidal tiger tilt time
tiny titanium today tofu toggle token tomato tonic tonight tool tornado torque torrent tortilla tortoise total touch
tour tourism tower toy track tractor train transfer transit traverse treat treble trend triangle tribute trickle
tricky trident trilogy trim tripod triumph trolley trophy trough trove trumpet trunk trust truth tulip tundra tungsten
tunnel turbine turn turnpike tutor tuxedo tweak twig twilight twinkle twist typical ukulele ultimate ultra umbrella
unable unaware unfold unify unique unit universe unknown unlike upbeat update upgrade uphill uphold upkeep upland
uplift upload upper upright upset upstairs uptown upward urban usage useful usual utility vacation vacuum valid valley
valuable value vampire vanilla vanish vanity variable variant variety various varsity vault vegan veggie vehicle
velocity velvet venture venue verge vessel viable vicar victory video village vine vinegar vineyard vintage violet
viper virtual visible vision visit vista visual vital vitamin vivid voice volatile volcano voltage volume vortex vowel
voyage wage wagon walkway wallet waltz wander want wardrobe warmth wash water waterway wax wealthy wearable website
weekday weekend well westerly wetland whisk whisper whistle wicket width wildcat wildfire wildlife windmill window
wing winter wisdom wobble wooden woodland woodwork workout workshop world worm worthy wreath wrinkle wrist yacht yarn
year yeast yellow yoga yummy zebra zenith zodiac
""".split()  # noqa: SIM905 (147 lines, not 2,048)
)
